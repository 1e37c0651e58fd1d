/** Numbers that look random and come again with the same seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A number in 0..1, 1 excluded. */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let word = this.#state;
    word = Math.imul(word ^ (word >>> 16), 0x21f0aaad);
    word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
    return ((word ^ (word >>> 15)) >>> 0) / 2 ** 32;
  }

  /** An integer in 0..limit, limit excluded. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** One of these. */
  pick<T>(choices: readonly T[]): T {
    const choice = choices[this.below(choices.length)];
    if (choice === undefined && choices.length === 0) throw new RangeError('nothing to pick from');
    return choice as T;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }
}
