/**
 * The only place that knows about memory barriers, and the only one that may use `Atomics`.
 *
 * The other side is a kernel thread. V8 makes sequentially consistent machine operations of `Atomics`
 * on any integer array, also one that is not shared between Workers; that is the engine's doing, not
 * the language's promise, so a stress test with two threads stands guard over it.
 */

/** Where an index is that one side stores and the other reads. */
export interface IndexPlace {
  readonly words: Uint16Array;
  readonly at: number;
}

/**
 * Reads an index that the other side stores when what it announces has been written.
 * Everything read after this call is at least as new as the index.
 */
export function loadAcquire(words: Uint16Array, at: number): number {
  return Atomics.load(words, at);
}

/** Stores an index: whoever sees it also sees everything written before this call. */
export function storeRelease(words: Uint16Array, at: number, value: number): void {
  Atomics.store(words, at, value);
}

/**
 * Stores one index, then reads another, in this order also as the other side sees it; it does the
 * same with the two the other way round, so at least one of us sees the other's store.
 *
 * Atomics on both sides: on x86 the store is an exchange and so a full fence, on arm64 a plain load
 * could still overtake a store with release semantics.
 */
export function publishThenLoad(
  words: Uint16Array,
  publishAt: number,
  value: number,
  loadAt: number,
): number {
  Atomics.store(words, publishAt, value);
  return Atomics.load(words, loadAt);
}

/** The same where the two indices lie in different arrays, as the rings of a guest may. */
export function publishThenLoadFrom(
  words: Uint16Array,
  publishAt: number,
  value: number,
  otherWords: Uint16Array,
  loadAt: number,
): number {
  Atomics.store(words, publishAt, value);
  return Atomics.load(otherWords, loadAt);
}
