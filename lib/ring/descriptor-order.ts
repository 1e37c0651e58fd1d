/**
 * Which descriptor has which place in the avail ring. Every descriptor has exactly one place, and its
 * entry there is written already: who offers them in this order has nothing to write.
 *
 * A place is an index into the ring; the indices that run free are places once they are masked.
 */
export class DescriptorOrder {
  /** The descriptor of each place. Kept here: what lies in shared memory is not to be trusted. */
  readonly ids: Uint16Array;
  /** Descriptors that are not in the place of their own number. */
  displaced = 0;

  readonly #places: Uint16Array;
  readonly #words16: Uint16Array;
  readonly #availRingAt: number;

  /** @param availRingAt  Where the entries of the avail ring begin in `words16`. */
  constructor(size: number, words16: Uint16Array, availRingAt: number) {
    this.ids = new Uint16Array(size);
    this.#places = new Uint16Array(size);
    this.#words16 = words16;
    this.#availRingAt = availRingAt;
  }

  /** Every descriptor goes to the place of its own number. */
  reset(): void {
    for (let id = 0; id < this.ids.length; id++) this.#put(id, id);
    this.displaced = 0;
  }

  /** The place of a descriptor, when it is one of `count` from `from` on; else -1. */
  find(id: number, from: number, count: number): number {
    const place = this.#places[id];
    return place !== undefined && ((place - from) & (this.ids.length - 1)) < count ? place : -1;
  }

  /** The descriptors of two places change places. */
  swap(a: number, b: number): void {
    if (a === b) return;
    const first = this.ids[a] ?? 0;
    this.#put(a, this.ids[b] ?? 0);
    this.#put(b, first);
  }

  /**
   * Whether used entries name the descriptors of the places that they are in.
   *
   * @param words32  The used ring's words.
   * @param at  Where its entries begin.
   * @param from  The first place.
   * @param count  How many; from the last place it goes on with the first.
   */
  areInTurn(words32: Uint32Array, at: number, from: number, count: number): boolean {
    const { length } = this.ids;
    const end = Math.min(from + count, length);
    const rest = from + count - end;
    if (this.displaced > 0) {
      return this.#areNamed(words32, at, from, end) && this.#areNamed(words32, at, 0, rest);
    }
    return (countUp(words32, at, from, end) | countUp(words32, at, 0, rest)) === 0;
  }

  #areNamed(words32: Uint32Array, at: number, from: number, end: number): boolean {
    let difference = 0;
    for (let place = from; place < end; place++) {
      difference |= (words32[at + 2 * place] ?? 0) ^ (this.ids[place] ?? 0);
    }
    return difference === 0;
  }

  #put(place: number, id: number): void {
    this.displaced += Number(place !== id) - Number(place !== this.ids[place]);
    this.ids[place] = id;
    this.#places[id] = place;
    this.#words16[this.#availRingAt + place] = id;
  }
}

/**
 * 0 when every second word is its place's own number. Four at a time, and in whole numbers of 32 bits:
 * a fifth of the instructions.
 */
function countUp(words32: Uint32Array, at: number, from: number, end: number): number {
  let difference = 0;
  let place = from | 0;
  for (const last = (end - 4) | 0; place <= last; place = (place + 4) | 0) {
    const i = (at + 2 * place) | 0;
    difference |=
      ((words32[i] ?? 0) ^ place) |
      ((words32[(i + 2) | 0] ?? 0) ^ (place + 1)) |
      ((words32[(i + 4) | 0] ?? 0) ^ (place + 2)) |
      ((words32[(i + 6) | 0] ?? 0) ^ (place + 3));
  }
  for (; place < end; place++) difference |= (words32[at + 2 * place] ?? 0) ^ place;
  return difference;
}
