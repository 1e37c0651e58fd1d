import { DescriptorTable } from './descriptor-table.js';
import type { IndirectArea, Segment } from './descriptor-table.js';
import { splitLayout } from './split-layout.js';
import type { SplitLayout } from './split-layout.js';
import { VhostError, misuse } from '../errors.js';
import { loadAcquire, publishThenLoad, storeRelease } from '../memory/ordering.js';
import { VRING_AVAIL_F_NO_INTERRUPT, VRING_USED_F_NO_NOTIFY } from '../uapi/virtio.js';

/** How a queue is to be driven. */
export interface DriverQueueOptions {
  /** Descriptors: a power of 2 in 1..32768. */
  readonly size: number;
  /** Whether `VIRTIO_RING_F_EVENT_IDX` was agreed on. */
  readonly eventIdx: boolean;
  /** Where indirect tables go, when `VIRTIO_RING_F_INDIRECT_DESC` was agreed on. */
  readonly indirect?: IndirectArea;
}

/**
 * Whether the other side wants to be told that an index went from `old` to `fresh`, having asked to
 * be told when it passes `event`. All of them 16 bits that run free.
 *
 * Spec: Virtio 1.3 §2.7.10 "Available Buffer Notification Suppression"; `vring_need_event` of
 * `<linux/virtio_ring.h>`.
 */
export function needEvent(event: number, fresh: number, old: number): boolean {
  return ((fresh - event - 1) & 0xffff) < ((fresh - old) & 0xffff);
}

/**
 * The driver's half of one split virtqueue. Memory and arithmetic: it knows no device, and wakes
 * nobody itself.
 *
 * A chain's way: {@link acquire} and {@link setDescriptor} (or {@link addChain}), {@link offer},
 * {@link publish} for all that were offered; {@link poll}, then {@link take} for each, and
 * {@link release}, or {@link offer} again.
 *
 * Nothing that the device wrote is trusted: after a used entry that can't be true the queue is
 * {@link broken} and throws `ERR_VHOST_QUEUE_CORRUPT` until {@link reset}.
 *
 * Spec: Virtio 1.3 §2.7 "Split Virtqueues".
 */
export class DriverQueue {
  /** Descriptors. */
  readonly size: number;
  /** Where the parts of the queue lie. */
  readonly layout: SplitLayout;
  /** Whether `VIRTIO_RING_F_EVENT_IDX` was agreed on. */
  readonly eventIdx: boolean;
  /** The used length of the chain that {@link take} last returned: what the device says it wrote. */
  takenLength = 0;

  readonly #table: DescriptorTable;
  readonly #words16: Uint16Array;
  readonly #words32: Uint32Array;
  readonly #mask: number;
  // Places as indices into words16 and words32: the hot path adds, it does not divide.
  readonly #availFlagsAt: number;
  readonly #availIdxAt: number;
  readonly #availRingAt: number;
  readonly #usedEventAt: number;
  readonly #usedFlagsAt: number;
  readonly #usedIdxAt: number;
  readonly #usedRingAt: number;
  readonly #availEventAt: number;

  // Free-running, 16 bits.
  #nextAvail = 0;
  #published = 0;
  #nextUsed = 0;
  #seenUsed = 0;

  #inFlight = 0;
  #fault: VhostError | undefined;

  /**
   * A queue over memory that is there; it is initialised.
   *
   * @param byteOffset  Where the queue lies in `buffer`; 16-aligned.
   */
  constructor(buffer: ArrayBuffer, byteOffset: number, options: DriverQueueOptions) {
    const layout = splitLayout(options.size);
    this.size = options.size;
    this.layout = layout;
    this.eventIdx = options.eventIdx;
    this.#mask = options.size - 1;
    const byteLength = Math.ceil(layout.byteLength / 4) * 4;
    this.#words16 = new Uint16Array(buffer, byteOffset, byteLength / 2);
    this.#words32 = new Uint32Array(buffer, byteOffset, byteLength / 4);
    this.#availFlagsAt = layout.avail / 2;
    this.#availIdxAt = layout.avail / 2 + 1;
    this.#availRingAt = layout.avail / 2 + 2;
    this.#usedEventAt = layout.usedEvent / 2;
    this.#usedFlagsAt = layout.used / 2;
    this.#usedIdxAt = layout.used / 2 + 1;
    this.#usedRingAt = layout.used / 4 + 1;
    this.#availEventAt = layout.availEvent / 2;
    this.#table = new DescriptorTable(this.#words16, this.#words32, options.size, options.indirect);
    this.reset();
  }

  /** Descriptors that are free. */
  get free(): number {
    return this.#table.free;
  }

  /** Chains offered to the device and not taken back. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** What the device wrote that can't be true; undefined while all is well. */
  get broken(): VhostError | undefined {
    return this.#fault;
  }

  /** Index of the next avail entry; runs free over 16 bits. */
  get nextAvail(): number {
    return this.#nextAvail;
  }

  /** Index of the next used entry; runs free over 16 bits. */
  get nextUsed(): number {
    return this.#nextUsed;
  }

  /** Takes a free descriptor; -1 when there is none. The one that was freed first comes first. */
  acquire(): number {
    return this.#table.acquire();
  }

  /** Gives back a descriptor that was acquired and not offered. */
  cancel(id: number): void {
    this.#table.giveBack(id);
  }

  /**
   * Writes one descriptor.
   *
   * @param address  A guest address; a safe integer.
   * @param length  Bytes.
   * @param flags  `VRING_DESC_F_WRITE` or 0.
   */
  setDescriptor(id: number, address: number, length: number, flags: number): void {
    this.#table.set(id, address, length, flags);
  }

  /** Changes the length of a descriptor that is otherwise as it was. */
  setLength(id: number, length: number): void {
    this.#table.setLength(id, length);
  }

  /** Makes `next` the descriptor after `id` in a chain. */
  chain(id: number, next: number): void {
    this.#table.link(id, next);
  }

  /** The descriptor after `id` in its chain; -1 when it is the last. */
  next(id: number): number {
    return this.#table.next(id);
  }

  /**
   * Acquires and writes a chain: what the device reads first, then what it writes.
   *
   * @returns The head, to be offered; -1 when there are too few free descriptors, and then none is taken.
   * @throws {TypeError} A segment to be read after one to be written.
   */
  addChain(segments: readonly Segment[]): number {
    return this.#table.addChain(segments);
  }

  /**
   * The same through an indirect table: takes one descriptor, however many segments there are.
   *
   * @throws {RangeError} More segments than a table has room for.
   * Spec: Virtio 1.3 §2.7.5.3 "Indirect Descriptors".
   */
  addIndirect(segments: readonly Segment[]): number {
    return this.#table.addIndirect(segments);
  }

  /** Puts a chain in the avail ring; the device sees it from the next {@link publish} on. */
  offer(head: number): void {
    this.#table.markInFlight(head); // first: what it refuses must not be in the ring
    this.#words16[this.#availRingAt + (this.#nextAvail & this.#mask)] = head;
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    this.#inFlight++;
  }

  /**
   * Lets the device see every chain offered so far.
   *
   * @returns Whether it must be kicked.
   */
  publish(): boolean {
    const old = this.#published;
    const fresh = this.#nextAvail;
    if (old === fresh) return false;
    this.#published = fresh;
    // Pairs with vhost, which writes avail_event (or the flag) and then reads avail->idx again: one of
    // the two sees the other's store. Also orders the descriptors and entries before the index.
    if (this.eventIdx) {
      const event = publishThenLoad(this.#words16, this.#availIdxAt, fresh, this.#availEventAt);
      return needEvent(event, fresh, old);
    }
    const flags = publishThenLoad(this.#words16, this.#availIdxAt, fresh, this.#usedFlagsAt);
    return (flags & VRING_USED_F_NO_NOTIFY) === 0;
  }

  /** Looks how many chains the device has used; {@link take} returns them. */
  poll(): number {
    if (this.#fault) throw this.#fault;
    // Pairs with vhost's release store of used->idx: the entries are there when the index is.
    this.#seenUsed = loadAcquire(this.#words16, this.#usedIdxAt);
    const count = (this.#seenUsed - this.#nextUsed) & 0xffff;
    if (count > this.#inFlight) {
      this.fail(
        `used index ${String(count)} ahead with ${String(this.#inFlight)} chains in flight`,
      );
    }
    return count;
  }

  /** The head of the next used chain of those that {@link poll} saw; -1 when there is none left. */
  take(): number {
    if (this.#nextUsed === this.#seenUsed) return -1;
    const at = this.#usedRingAt + 2 * (this.#nextUsed & this.#mask);
    const head = this.#words32[at] ?? 0;
    const length = this.#words32[at + 1] ?? 0;
    if (!this.#table.isInFlight(head)) this.fail(`used head ${String(head)} is not in flight`);
    const room = this.#table.writable(head);
    if (length > room && room > 0) {
      this.fail(
        `used length ${String(length)} of ${String(room)} writable bytes, head ${String(head)}`,
      );
    }
    this.#table.markTaken(head);
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    this.#inFlight--;
    this.takenLength = length;
    return head;
  }

  /** Frees a chain that was taken. */
  release(head: number): void {
    this.#table.release(head);
  }

  /**
   * Asks for a call once `after` more chains are used.
   *
   * @returns True when so many are used already and no call will come: {@link poll} again.
   */
  armCalls(after = 1): boolean {
    let used: number;
    // Pairs with vhost, which stores used->idx and then reads used_event (or the flag).
    if (this.eventIdx) {
      const event = (this.#nextUsed + after - 1) & 0xffff;
      used = publishThenLoad(this.#words16, this.#usedEventAt, event, this.#usedIdxAt);
    } else {
      used = publishThenLoad(this.#words16, this.#availFlagsAt, 0, this.#usedIdxAt);
    }
    return ((used - this.#nextUsed) & 0xffff) >= after;
  }

  /** Asks for no calls until {@link armCalls}. A hint: one may still come. */
  disarmCalls(): void {
    if (this.eventIdx) {
      // An event just behind the index is reached only after a whole turn of 65,536.
      storeRelease(this.#words16, this.#usedEventAt, (this.#nextUsed - 1) & 0xffff);
    } else {
      storeRelease(this.#words16, this.#availFlagsAt, VRING_AVAIL_F_NO_INTERRUPT);
    }
  }

  /** Heads of the chains that the device has not given back. */
  outstanding(): number[] {
    return Array.from({ length: this.size }, (_, id) => id).filter((id) =>
      this.#table.isInFlight(id),
    );
  }

  /**
   * Begins anew: ring memory zeroed, every descriptor free, indices at `base`. Only while the device
   * does not use the queue. Descriptors have to be written again.
   */
  reset(base = 0): void {
    if (!Number.isInteger(base) || base < 0 || base > 0xffff) {
      throw misuse.range('base', 'an integer in 0..65535', base);
    }
    this.#words16.fill(0);
    this.#table.reset();
    this.#nextAvail = this.#published = this.#nextUsed = this.#seenUsed = base;
    this.#inFlight = 0;
    this.#fault = undefined;
    storeRelease(this.#words16, this.#availIdxAt, base);
    storeRelease(this.#words16, this.#usedIdxAt, base);
  }

  /**
   * Marks the queue as broken.
   *
   * @param what  What the device wrote.
   * @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`, always.
   */
  fail(what: string): never {
    this.#fault = new VhostError('ERR_VHOST_QUEUE_CORRUPT', `the device wrote ${what}`);
    throw this.#fault;
  }
}
