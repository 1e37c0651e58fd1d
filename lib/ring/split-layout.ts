import { misuse } from '../errors.js';

/** The most descriptors a split virtqueue can have. Virtio 1.3 §2.7 "Split Virtqueues". */
export const MAX_QUEUE_SIZE = 32768;

/** Bytes of one descriptor: address 8, length 4, flags 2, next 2. `struct vring_desc`. */
export const DESCRIPTOR_BYTES = 16;

/** Where the parts of one split virtqueue lie: bytes from its beginning. */
export interface SplitLayout {
  /** The descriptor table; 16-aligned. */
  readonly desc: number;
  /** flags, idx, ring, used_event; 2-aligned. */
  readonly avail: number;
  /** The last field of the avail ring: the driver asks for a call there. */
  readonly usedEvent: number;
  /** flags, idx, ring, avail_event; 4-aligned. */
  readonly used: number;
  /** The last field of the used ring: the device asks for a kick there. */
  readonly availEvent: number;
  /** Bytes of the whole queue. */
  readonly byteLength: number;
}

/**
 * Lays out a split virtqueue in one piece. The used ring begins on a cache line of its own: it is the
 * only part that the device writes.
 *
 * @param size  Descriptors: a power of 2 in 1..32768.
 * Spec: Virtio 1.3 §2.7 "Split Virtqueues"; §2.7.6 "The Virtqueue Available Ring";
 * §2.7.8 "The Virtqueue Used Ring".
 */
export function splitLayout(size: number): SplitLayout {
  checkQueueSize(size);
  const avail = DESCRIPTOR_BYTES * size;
  const usedEvent = avail + 4 + 2 * size;
  const used = Math.ceil((usedEvent + 2) / 64) * 64;
  const availEvent = used + 4 + 8 * size;
  return { desc: 0, avail, usedEvent, used, availEvent, byteLength: availEvent + 2 };
}

/** The same in words, not bytes: 16-bit words, but for the used ring. The hot path adds, it does not divide. */
export interface WordPlaces {
  readonly availFlags: number;
  readonly availIdx: number;
  readonly availRing: number;
  readonly usedEvent: number;
  readonly usedFlags: number;
  readonly usedIdx: number;
  /** In 32-bit words: the first entry's id; its length follows. */
  readonly usedRing: number;
  readonly availEvent: number;
}

/** Where the words of a split virtqueue lie. */
export function wordPlaces({ avail, usedEvent, used, availEvent }: SplitLayout): WordPlaces {
  return {
    availFlags: avail / 2,
    availIdx: avail / 2 + 1,
    availRing: avail / 2 + 2,
    usedEvent: usedEvent / 2,
    usedFlags: used / 2,
    usedIdx: used / 2 + 1,
    usedRing: used / 4 + 1,
    availEvent: availEvent / 2,
  };
}

/** @throws {RangeError} No power of 2 from `least` to 32768. */
export function checkQueueSize(size: number, option = 'queueSize', least = 1): void {
  if (typeof size !== 'number') throw misuse.type(option, 'an integer', size);
  const fits = Number.isInteger(size) && size >= least && size <= MAX_QUEUE_SIZE;
  if (!fits || (size & (size - 1)) !== 0)
    throw misuse.range(option, `a power of 2 in ${String(least)}..32768`, size);
}

/** @throws {RangeError} Not an index of a ring: they run free over 16 bits. */
export function checkIndex(base: number): void {
  if (Number.isInteger(base) && base >= 0 && base <= 0xffff) return;
  throw misuse.range('base', 'an integer in 0..65535', base);
}
