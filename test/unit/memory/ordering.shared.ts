import { loadAcquire, publishThenLoad } from '#lib/memory/ordering';
import { splitLayout } from '#lib/ring/split-layout';

/** What the other thread is asked to do. */
export interface OrderingTask {
  readonly kind: 'device' | 'stores';
  readonly fd: number;
  readonly byteLength: number;
  /** Descriptors of the ring. */
  readonly size: number;
  readonly rounds: number;
}

/** Stores of one round: every value differs, and none is 0. */
export const STORES = 60_000;

/** One cache line of payload per descriptor, behind the ring. */
export function payloadWords(buffer: ArrayBuffer, size: number): Uint32Array {
  return new Uint32Array(buffer, Math.ceil(splitLayout(size).byteLength / 64) * 64, size * 16);
}

export function waitFor(words: Uint16Array, at: number, value: number): void {
  while (loadAcquire(words, at) !== value);
}

/** The words that two sides store to, each on a cache line of its own, and what each side saw. */
export function stores(buffer: ArrayBuffer) {
  const words = new Uint16Array(buffer, 0, 512);
  const run = (mine: number, theirs: number, seen: Uint16Array) => {
    for (let i = 1; i <= STORES; i++) seen[i] = publishThenLoad(words, mine, i, theirs);
  };
  return {
    words,
    first: 0,
    second: 64,
    go: 128,
    done: 192,
    seenByFirst: new Uint16Array(buffer, 4096, STORES + 1),
    seenBySecond: new Uint16Array(buffer, 4096 + 131072, STORES + 1),
    run,
  };
}
