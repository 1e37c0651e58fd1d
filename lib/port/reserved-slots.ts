import type { SlotArea } from './arena.js';
import type { SlotHeaders } from './slot-headers.js';
import type { DriverQueue } from '../ring/driver-queue.js';
import type { NetHeader } from '../ring/net-header.js';

/**
 * Slots that are written before they are offered, by the caller or by a copy. A frame that is longer than one takes
 * several that follow each other: the descriptor of the first then names the memory of all, and the others have
 * none to name.
 */
export class ReservedSlots {
  readonly #queue: DriverQueue;
  readonly #slots: SlotArea;
  readonly #headers: SlotHeaders;
  /** Where the next long frame is looked for first. */
  #from = 0;
  /** So many in a row there were not when it was looked last, and how far the device was then. */
  #tooMany = Infinity;
  #usedThen = 0;

  constructor(queue: DriverQueue, slots: SlotArea, headers: SlotHeaders) {
    this.#queue = queue;
    this.#slots = slots;
    this.#headers = headers;
  }

  /** How many slots a frame of this length takes in one piece. */
  countFor(length: number): number {
    return Math.ceil((this.#slots.payloadAt + length) / this.#slots.stride);
  }

  /**
   * Takes the slots of a frame.
   *
   * @param patience  After a look in vain no other before the device has completed more frames than these: to look
   *   through the whole ring costs as much as some frames do.
   * @returns The first; -1 when there are not so many in a row.
   */
  acquire(length: number, patience = 0): number {
    const count = this.countFor(length);
    if (count === 1) return this.#queue.acquire();
    if (count > this.#queue.free || this.#isInVain(count, patience)) return -1;
    const first = this.#findRow(count);
    if (first >= 0) this.#take(first, count);
    this.#tooMany = first >= 0 ? Infinity : count;
    this.#usedThen = this.#queue.nextUsed;
    return first;
  }

  /** Only while something is in flight, whose completion is told: the index may have come round to where it was. */
  #isInVain(count: number, patience: number): boolean {
    if (count < this.#tooMany || this.#queue.inFlight === 0) return false;
    return ((this.#queue.nextUsed - this.#usedThen) & 0xffff) <= patience;
  }

  /** The ring began anew. */
  reset(): void {
    this.#tooMany = Infinity;
  }

  /** The same slots once more, after the ring began anew. */
  acquireAgain(first: number, length: number): void {
    this.#take(first, this.countFor(length));
  }

  /** The memory of several as one piece. */
  view(first: number, length: number): Uint8Array {
    const { words16, stride, payloadAt } = this.#slots;
    return new Uint8Array(words16.buffer, words16.byteOffset + first * stride + payloadAt, length);
  }

  /** Offers what was written to them. */
  offer(first: number, length: number, header: Readonly<NetHeader> | undefined): void {
    this.#queue.setLength(first, this.#slots.headerSize + length);
    this.#headers.write(first, header); // a caller who had it in hand could reach its header as well
    this.#queue.offer(first);
  }

  /** Gives them back unsent. */
  cancel(first: number): void {
    this.#tooMany = Infinity;
    this.#queue.release(first);
  }

  #take(first: number, count: number): void {
    this.#queue.claim(first);
    for (let slot = first + 1; slot < first + count; slot++) {
      this.#queue.claim(slot);
      this.#queue.attach(slot - 1, slot);
      this.#headers.mark(slot); // the frame goes on where another would have its header
    }
  }

  /** So many free slots in a row, from where the last ones ended on; -1: there are not. */
  #findRow(count: number): number {
    const { size } = this.#queue;
    let length = 0;
    for (let i = 0; i < size + count; i++) {
      const slot = (this.#from + i) % size;
      if (slot === 0) length = 0; // the last is followed by none
      length = this.#queue.isFree(slot) ? length + 1 : 0;
      if (length < count) continue;
      this.#from = (slot + 1) % size;
      return slot + 1 - count;
    }
    return -1;
  }
}
