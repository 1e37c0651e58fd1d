import { DescriptorOrder } from './descriptor-order.js';
import { DescriptorTable } from './descriptor-table.js';
import type { IndirectArea } from './descriptor-table.js';
import { Notifications } from './notifications.js';
import { splitLayout, wordPlaces } from './split-layout.js';
import type { SplitLayout, WordPlaces } from './split-layout.js';
import { misuse } from '../errors.js';
import type { IndexPlace } from '../memory/ordering.js';

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
 * The half of a driver's queue that gives: who has which descriptor, and what the device is shown.
 *
 * The places of the avail ring are the list of descriptors as well: from {@link nextUsed} on those that
 * are in flight, from {@link nextAvail} on those that are free, then those that the caller has. A
 * device that completes in order so leaves nothing to be written but what a descriptor holds; any other
 * order is as right, and dearer.
 */
export abstract class AvailSide {
  /** Descriptors. */
  readonly size: number;
  /** Where the parts of the queue lie. */
  readonly layout: SplitLayout;
  /** Whether `VIRTIO_RING_F_EVENT_IDX` was agreed on. */
  readonly eventIdx: boolean;
  /** The length of what {@link offerInRun} offers; -1 while it is not to be called. */
  runLength = -1;

  protected readonly table: DescriptorTable;
  protected readonly order: DescriptorOrder;
  protected readonly notifications: Notifications;
  protected readonly words16: Uint16Array;
  protected readonly words32: Uint32Array;
  protected readonly places: WordPlaces;
  protected readonly mask: number;
  /** The descriptor of each place. */
  protected readonly ids: Uint16Array;

  // Free-running, 16 bits.
  protected usedIndex = 0;
  #nextAvail = 0;
  #published = 0;
  /** Where the free descriptors end, and those begin that the caller has. */
  #freeEnd = 0;
  #runEnd = 0;

  /**
   * A queue over memory that is there; it has to be initialised.
   *
   * @param byteOffset  Where the queue lies in `buffer`; 16-aligned.
   */
  protected constructor(buffer: ArrayBuffer, byteOffset: number, options: DriverQueueOptions) {
    const { size, eventIdx, indirect } = options;
    const layout = splitLayout(size);
    this.size = size;
    this.layout = layout;
    this.eventIdx = eventIdx;
    this.mask = size - 1;
    this.words32 = new Uint32Array(buffer, byteOffset, Math.ceil(layout.byteLength / 4));
    this.words16 = new Uint16Array(buffer, byteOffset, this.words32.length * 2);
    this.places = wordPlaces(layout);
    this.table = new DescriptorTable(this.words16, this.words32, size, indirect);
    this.order = new DescriptorOrder(size, this.words16, this.places.availRing);
    this.ids = this.order.ids;
    this.notifications = new Notifications(this.words16, this.places, eventIdx);
  }

  /** Descriptors that are free. */
  get free(): number {
    return (this.#freeEnd - this.#nextAvail) & 0xffff;
  }

  /** Chains offered to the device and not taken back. */
  get inFlight(): number {
    return (this.#nextAvail - this.usedIndex) & 0xffff;
  }

  /** Chains offered, and not published yet. */
  get unpublished(): number {
    return (this.#nextAvail - this.#published) & 0xffff;
  }

  /** Index of the next avail entry; runs free over 16 bits. */
  get nextAvail(): number {
    return this.#nextAvail;
  }

  /** Index of the next used entry; runs free over 16 bits. */
  get nextUsed(): number {
    return this.usedIndex;
  }

  /** Where the two sides tell each other how far they are: for who only looks. */
  get indexPlaces(): { readonly avail: IndexPlace; readonly used: IndexPlace } {
    const { words16: words, places } = this;
    return { avail: { words, at: places.availIdx }, used: { words, at: places.usedIdx } };
  }

  /** Takes a free descriptor; -1 when there is none. */
  acquire(): number {
    if (this.free === 0) return -1;
    this.closeRun();
    this.#freeEnd = (this.#freeEnd - 1) & 0xffff;
    return this.ids[this.#firstTaken] ?? -1;
  }

  /** Whether a descriptor is free. */
  isFree(id: number): boolean {
    return this.order.find(id, this.#nextAvail, this.free) >= 0;
  }

  /**
   * Takes this very descriptor.
   *
   * @throws {RangeError} It is not free.
   */
  claim(id: number): void {
    const place = this.order.find(id, this.#nextAvail, this.free);
    if (place < 0) throw misuse.range('id', 'a descriptor that is free', id);
    this.closeRun();
    this.#freeEnd = (this.#freeEnd - 1) & 0xffff;
    this.swap(place, this.#firstTaken);
  }

  /** Gives back a descriptor that was acquired and not offered. */
  cancel(id: number): void {
    this.swap(this.#placeOfTaken(id, 'id'), this.#firstTaken);
    this.#freeEnd = (this.#freeEnd + 1) & 0xffff;
  }

  /** Puts a chain in the avail ring; the device sees it from the next {@link publish} on. */
  offer(head: number): void {
    const place = this.#placeOfTaken(head, 'head'); // first: what is refused must not be in the ring
    this.closeRun();
    this.table.breakOff();
    const next = this.#nextAvail & this.mask;
    if (place !== next) {
      const first = this.#firstTaken;
      this.swap(place, first);
      this.swap(first, next);
    }
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    this.#freeEnd = (this.#freeEnd + 1) & 0xffff;
  }

  /**
   * Offers every descriptor that the caller has, as they are: those taken first come first, but for what
   * can be brought to the place of its own number.
   */
  offerTaken(): void {
    const { free, taken } = this;
    if (free > 0) throw misuse.range('free', 'no free descriptor before those taken', free);
    this.closeRun();
    if (this.order.displaced > 0) this.#straighten(this.#freeEnd, taken, taken);
    this.table.breakOff();
    this.#nextAvail = this.#freeEnd = (this.usedIndex + this.size) & 0xffff;
  }

  /** The descriptor that {@link offerNext} will take after so many others; only of those free. */
  freeAt(index: number): number {
    return this.ids[(this.#nextAvail + index) & this.mask] ?? -1;
  }

  /** How many of the next free descriptors, to `most`, follow one another in the table. */
  freeInRow(most: number): number {
    const limit = Math.min(most, this.free);
    if (this.order.displaced === 0)
      return Math.min(limit, this.size - (this.#nextAvail & this.mask));
    const first = this.freeAt(0);
    let count = Math.min(limit, 1);
    while (count < limit && this.freeAt(count) === first + count) count++;
    return count;
  }

  /**
   * Takes the next free descriptor as it is written, but for the length, and offers it. What it names
   * may be written until {@link publish}.
   *
   * @param length  Bytes; less than 65,536.
   * @returns The descriptor; -1 when none is free.
   */
  offerNext(length: number): number {
    const next = this.#nextAvail;
    if (next === this.#freeEnd) return -1;
    const id = this.ids[next & this.mask] ?? -1;
    this.table.setNextLength(id, length);
    this.#nextAvail = (next + 1) & 0xffff;
    this.runLength = -1;
    return id;
  }

  /**
   * Begins a run: of free descriptors that have this length already, and follow one another in the
   * avail ring as they do in the table. The next {@link publish}, and whatever else is offered or
   * acquired, ends it.
   *
   * @param most  How many it may be.
   * @returns Whether {@link offerInRun} may be called now: only where {@link offerNext} has given every
   *   descriptor this length, and each has its own number's place.
   */
  openRun(length: number, most: number): boolean {
    const count = this.table.uniformLength === length ? Math.min(most, this.free) : 0;
    if (count > 0 && this.order.displaced > 0) this.#straighten(this.#nextAvail, count, this.free);
    const isOpen = count > 0 && this.order.displaced === 0;
    this.#runEnd = (this.#nextAvail + count) & 0xffff;
    this.runLength = isOpen ? length : -1;
    return isOpen;
  }

  /** Fills the first `count` of `all` places from `from` on with their own descriptors, where those are among them. */
  #straighten(from: number, count: number, all: number): void {
    for (let i = 0; i < count; i++) {
      const place = (from + i) & this.mask;
      const now = this.order.find(place, from, all);
      if (now >= 0) this.swap(place, now);
    }
  }

  /** Offers the next descriptor of the run as it is, and returns it; -1 when the run is at its end. */
  offerInRun(): number {
    const next = this.#nextAvail;
    if (next === this.#runEnd) return -1;
    this.#nextAvail = (next + 1) & 0xffff;
    return next & this.mask;
  }

  /** Offers the next `count` descriptors of a run at once. */
  offerRun(count: number): void {
    this.closeRun();
    this.#nextAvail = (this.#nextAvail + count) & 0xffff;
  }

  /** From now on nothing is offered in a run. */
  closeRun(): void {
    this.runLength = -1;
  }

  /**
   * Lets the device see every chain offered so far.
   *
   * @returns Whether it must be kicked.
   */
  publish(): boolean {
    this.closeRun();
    const old = this.#published;
    const fresh = this.#nextAvail;
    if (old === fresh) return false;
    this.#published = fresh;
    return this.notifications.show(fresh, old);
  }

  /** Descriptors that the caller has. */
  protected get taken(): number {
    return (this.usedIndex + this.size - this.#freeEnd) & 0xffff;
  }

  /** The next `count` that are in flight are free, when the caller has none. */
  protected freeInTurn(count: number): void {
    this.usedIndex = (this.usedIndex + count) & 0xffff;
    this.#freeEnd = (this.#freeEnd + count) & 0xffff;
  }

  /** Every descriptor is free, and in the place of its own number. */
  protected restart(base: number): void {
    this.closeRun();
    this.table.reset();
    this.order.reset();
    this.usedIndex = this.#nextAvail = this.#published = base;
    this.#freeEnd = (base + this.size) & 0xffff;
  }

  /** The descriptors of two places change places. */
  protected swap(a: number, b: number): void {
    if (a !== b) this.table.breakOff();
    this.order.swap(a, b);
  }

  get #firstTaken(): number {
    return this.#freeEnd & this.mask;
  }

  #placeOfTaken(id: number, name: string): number {
    const place = this.order.find(id, this.#freeEnd, this.taken);
    if (place >= 0) return place;
    throw misuse.range(name, 'a descriptor that is acquired', id);
  }
}
