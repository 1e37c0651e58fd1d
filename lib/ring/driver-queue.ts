import { DescriptorOrder } from './descriptor-order.js';
import { DescriptorTable, checkSegments } from './descriptor-table.js';
import type { IndirectArea, Segment } from './descriptor-table.js';
import { Notifications } from './notifications.js';
import { DESCRIPTOR_BYTES, splitLayout, wordPlaces } from './split-layout.js';
import type { SplitLayout, WordPlaces } from './split-layout.js';
import { VhostError, misuse } from '../errors.js';
import { loadAcquire, storeRelease } from '../memory/ordering.js';

/** 16-bit words of a descriptor, and which of them is the lower half of its length. */
const DESCRIPTOR_WORDS = DESCRIPTOR_BYTES / 2;
const LENGTH_WORD = 4;

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
 * The driver's half of one split virtqueue. Memory and arithmetic: it knows no device, and wakes
 * nobody itself.
 *
 * A chain's way: {@link acquire} and {@link setDescriptor} (or {@link addChain}), {@link offer},
 * {@link publish} for all that were offered; {@link poll}, then {@link take} for each, and
 * {@link release}, or {@link offer} again. The short way of what is one descriptor, described before:
 * {@link offerNext}, {@link publish}, {@link poll}, {@link releaseUsed}.
 *
 * The places of the avail ring are the list of descriptors as well: from {@link nextUsed} on those that
 * are in flight, from {@link nextAvail} on those that are free, then those that the caller has. A
 * device that completes in order so leaves nothing to be written but what a descriptor holds; any other
 * order is as right, and dearer.
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
  readonly #order: DescriptorOrder;
  readonly #notifications: Notifications;
  readonly #ids: Uint16Array;
  readonly #words16: Uint16Array;
  readonly #words32: Uint32Array;
  readonly #mask: number;
  readonly #places: WordPlaces;
  readonly #usedRingAt: number;

  // Free-running, 16 bits.
  #nextAvail = 0;
  #published = 0;
  #nextUsed = 0;
  #seenUsed = 0;

  #free = 0;
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
    this.#places = wordPlaces(layout);
    this.#usedRingAt = this.#places.usedRing;
    this.#table = new DescriptorTable(this.#words16, this.#words32, options.size, options.indirect);
    this.#order = new DescriptorOrder(options.size, this.#words16, this.#places.availRing);
    this.#ids = this.#order.ids;
    this.#notifications = new Notifications(this.#words16, this.#places, options.eventIdx);
    this.reset();
  }

  /** Descriptors that are free. */
  get free(): number {
    return this.#free;
  }

  /** Chains offered to the device and not taken back. */
  get inFlight(): number {
    return (this.#nextAvail - this.#nextUsed) & 0xffff;
  }

  /** Chains offered, and not published yet. */
  get unpublished(): number {
    return (this.#nextAvail - this.#published) & 0xffff;
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

  /** Takes a free descriptor; -1 when there is none. */
  acquire(): number {
    if (this.#free === 0) return -1;
    this.#free--;
    return this.#ids[this.#firstTaken] ?? -1;
  }

  /**
   * Takes this very descriptor.
   *
   * @throws {RangeError} It is not free.
   */
  claim(id: number): void {
    const place = this.#order.placeOf(id) ?? -1;
    const isFree = place >= 0 && ((place - this.#nextAvail) & this.#mask) < this.#free;
    if (!isFree) throw misuse.range('id', 'a descriptor that is free', id);
    this.#free--;
    this.#order.swap(place, this.#firstTaken);
  }

  /** Gives back a descriptor that was acquired and not offered. */
  cancel(id: number): void {
    this.#order.swap(this.#placeOfTaken(id, 'id'), this.#firstTaken);
    this.#free++;
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
    checkSegments(segments);
    if (segments.length > this.#free) return -1;
    const ids = segments.map(() => this.acquire());
    this.#table.writeChain(ids, segments);
    return ids[0] ?? -1;
  }

  /**
   * The same through an indirect table: takes one descriptor, however many segments there are.
   *
   * @throws {RangeError} More segments than a table has room for.
   * Spec: Virtio 1.3 §2.7.5.3 "Indirect Descriptors".
   */
  addIndirect(segments: readonly Segment[]): number {
    checkSegments(segments);
    const most = this.#table.maxIndirect;
    if (segments.length > most) {
      throw misuse.range('segments', `at most ${String(most)} segments`, segments.length);
    }
    const head = this.acquire();
    if (head >= 0) this.#table.writeIndirect(head, segments);
    return head;
  }

  /** Puts a chain in the avail ring; the device sees it from the next {@link publish} on. */
  offer(head: number): void {
    const place = this.#placeOfTaken(head, 'head'); // first: what is refused must not be in the ring
    const next = this.#nextAvail & this.#mask;
    if (place !== next) {
      const first = this.#firstTaken;
      this.#order.swap(place, first);
      this.#order.swap(first, next);
    }
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
  }

  /** Offers every descriptor that the caller has, as they are: those taken first come first. */
  offerTaken(): void {
    if (this.#free > 0)
      throw misuse.range('free', 'no free descriptor before those taken', this.#free);
    this.#nextAvail = (this.#nextUsed + this.size) & 0xffff;
  }

  /** The descriptor that {@link offerNext} will take after so many others; only of those free. */
  freeAt(index: number): number {
    return this.#ids[(this.#nextAvail + index) & this.#mask] ?? -1;
  }

  /**
   * Takes the next free descriptor as it is written, but for the length, and offers it. What it names
   * may be written until {@link publish}.
   *
   * @param length  Bytes; less than 65,536.
   * @returns The descriptor; -1 when none is free.
   */
  offerNext(length: number): number {
    if (this.#free === 0) return -1;
    const next = this.#nextAvail;
    const id = this.#ids[next & this.#mask] ?? -1;
    this.#words16[id * DESCRIPTOR_WORDS + LENGTH_WORD] = length;
    this.#nextAvail = (next + 1) & 0xffff;
    this.#free--;
    return id;
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
    return this.#notifications.show(fresh, old);
  }

  /** Looks how many chains the device has used; {@link take} returns them. */
  poll(): number {
    if (this.#fault) throw this.#fault;
    // Pairs with vhost's release store of used->idx: the entries are there when the index is.
    this.#seenUsed = loadAcquire(this.#words16, this.#places.usedIdx);
    const count = (this.#seenUsed - this.#nextUsed) & 0xffff;
    if (count > this.inFlight) {
      this.fail(`used index ${String(count)} ahead with ${String(this.inFlight)} chains in flight`);
    }
    return count;
  }

  /** The head of the next used chain of those that {@link poll} saw; -1 when there is none left. */
  take(): number {
    if (this.#nextUsed === this.#seenUsed) return -1;
    const place = this.#nextUsed & this.#mask;
    const at = this.#usedRingAt + 2 * place;
    const used = this.#words32[at] ?? 0;
    if (used !== this.#ids[place]) this.#takeOutOfTurn(used);
    const head = this.#ids[place] ?? 0;
    const length = this.#words32[at + 1] ?? 0;
    const room = this.#table.writable(head);
    if (length > room && room > 0) {
      this.fail(
        `used length ${String(length)} of ${String(room)} writable bytes, head ${String(head)}`,
      );
    }
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    this.takenLength = length;
    return head;
  }

  /** Frees a chain that was taken. */
  release(head: number): void {
    for (let id = head; id >= 0; id = this.#table.unlink(id)) this.cancel(id);
  }

  /**
   * Takes and frees every chain that {@link poll} saw: of a queue whose chains the device only reads.
   *
   * @returns How many there were.
   */
  releaseUsed(): number {
    const count = (this.#seenUsed - this.#nextUsed) & 0xffff;
    if (this.#free + this.inFlight === this.size && this.#areInTurn(count)) {
      this.#nextUsed = (this.#nextUsed + count) & 0xffff;
      this.#free += count;
    } else {
      for (let i = 0; i < count; i++) this.release(this.take());
    }
    return count;
  }

  /** Whether the next used chains are those that were offered first, in the same order. */
  #areInTurn(count: number): boolean {
    const words = this.#words32;
    const ids = this.#ids;
    const mask = this.#mask;
    const at = this.#usedRingAt;
    const from = this.#nextUsed;
    let difference = 0;
    for (let i = 0; i < count; i++) {
      const place = (from + i) & mask;
      difference |= (words[(at + 2 * place) | 0] ?? 0) ^ (ids[place] ?? 0);
    }
    return difference === 0;
  }

  /**
   * Asks for a call once `after` more chains are used.
   *
   * @returns True when so many are used already and no call will come: {@link poll} again.
   */
  armCalls(after = 1): boolean {
    return this.#notifications.arm(this.#nextUsed, after);
  }

  /** Asks for no calls until {@link armCalls}. A hint: one may still come. */
  disarmCalls(): void {
    this.#notifications.disarm(this.#nextUsed);
  }

  /** Heads of the chains that the device has not given back. */
  outstanding(): number[] {
    const at = (i: number) => this.#ids[(this.#nextUsed + i) & this.#mask] ?? -1;
    return Array.from({ length: this.inFlight }, (_, i) => at(i));
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
    this.#order.reset();
    this.#free = this.size;
    this.#nextAvail = this.#published = this.#nextUsed = this.#seenUsed = base;
    this.#fault = undefined;
    storeRelease(this.#words16, this.#places.availIdx, base);
    storeRelease(this.#words16, this.#places.usedIdx, base);
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

  /** Where those begin that the caller has: behind the free ones. */
  get #firstTaken(): number {
    return (this.#nextAvail + this.#free) & this.#mask;
  }

  #placeOfTaken(id: number, name: string): number {
    const place = this.#order.placeOf(id) ?? -1;
    const taken = this.size - this.inFlight - this.#free;
    if (place >= 0 && ((place - this.#firstTaken) & this.#mask) < taken) return place;
    throw misuse.range(name, 'a descriptor that is acquired', id);
  }

  /** The device used one that was not the next: it becomes the next. */
  #takeOutOfTurn(head: number): void {
    const place = this.#order.placeOf(head) ?? -1;
    const isInFlight = place >= 0 && ((place - this.#nextUsed) & this.#mask) < this.inFlight;
    if (!isInFlight) this.fail(`used head ${String(head)} is not in flight`);
    this.#order.swap(place, this.#nextUsed & this.#mask);
  }
}
