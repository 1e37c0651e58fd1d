/**
 * Which descriptor has which place in the avail ring. Every descriptor has exactly one place, and its
 * entry there is written already: who offers them in this order has nothing to write.
 *
 * A place is an index into the ring; the indices that run free are places once they are masked.
 */
export class DescriptorOrder {
  /** The descriptor of each place. Kept here: what lies in shared memory is not to be trusted. */
  readonly ids: Uint16Array;

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
  }

  /** The place of a descriptor; undefined of a number that is none. */
  placeOf(id: number): number | undefined {
    return this.#places[id];
  }

  /** The descriptors of two places change places. */
  swap(a: number, b: number): void {
    if (a === b) return;
    const first = this.ids[a] ?? 0;
    this.#put(a, this.ids[b] ?? 0);
    this.#put(b, first);
  }

  #put(place: number, id: number): void {
    this.ids[place] = id;
    this.#places[id] = place;
    this.#words16[this.#availRingAt + place] = id;
  }
}
