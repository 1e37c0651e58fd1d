import { AvailSide } from './avail-side.js';
import type { DriverQueueOptions } from './avail-side.js';
import { checkSegments } from './descriptor-table.js';
import type { Segment } from './descriptor-table.js';
import { checkIndex } from './split-layout.js';
import { VhostError } from '../errors.js';
import { loadAcquire, storeRelease } from '../memory/ordering.js';

/**
 * The driver's half of one split virtqueue. Memory and arithmetic: it knows no device, and wakes
 * nobody itself.
 *
 * A chain's way: {@link acquire} and {@link setDescriptor} (or {@link addChain}), {@link offer},
 * {@link publish} for all that were offered; {@link poll}, then {@link take} for each, and
 * {@link release}, or {@link offer} again. The short way of what is one descriptor, described before:
 * {@link offerNext}, {@link publish}, {@link poll}, {@link releaseUsed}. The shortest, of many of one
 * length: {@link openRun}, {@link offerInRun}.
 *
 * Nothing that the device wrote is trusted: after a used entry that can't be true the queue is
 * {@link broken} and throws `ERR_VHOST_QUEUE_CORRUPT` until {@link reset}.
 *
 * Spec: Virtio 1.3 §2.7 "Split Virtqueues".
 */
export class DriverQueue extends AvailSide {
  /** The used length of the chain that {@link take} last returned: what the device says it wrote. */
  takenLength = 0;

  /** Where used lengths are, for a loop over a row: that of a head is `words[at + 2 * head]`. */
  readonly usedLengths: { readonly words: Uint32Array; readonly at: number };
  /** Where the row begins that {@link takeRow} took last. */
  rowStart = 0;

  #seenUsed = 0;
  #rowLimit = 0;
  #fault: VhostError | undefined;

  /**
   * A queue over memory that is there; it is initialised.
   *
   * @param byteOffset  Where the queue lies in `buffer`; 16-aligned.
   */
  constructor(buffer: ArrayBuffer, byteOffset: number, options: DriverQueueOptions) {
    super(buffer, byteOffset, options);
    this.usedLengths = { words: this.words32, at: this.places.usedRing + 1 };
    this.reset();
  }

  /** What the device wrote that can't be true; undefined while all is well. */
  get broken(): VhostError | undefined {
    return this.#fault;
  }

  /**
   * Writes one descriptor.
   *
   * @param address  A guest address; a safe integer.
   * @param length  Bytes.
   * @param flags  `VRING_DESC_F_WRITE` or 0.
   */
  setDescriptor(id: number, address: number, length: number, flags: number): void {
    this.table.set(id, address, length, flags);
  }

  /** Changes the length of a descriptor that is otherwise as it was. */
  setLength(id: number, length: number): void {
    this.table.setLength(id, length);
  }

  /** Makes `next` the descriptor after `id` in a chain. */
  chain(id: number, next: number): void {
    this.table.link(id, next);
  }

  /** The same without a word to the device: `next` is kept for as long as `id` is, and freed with it. */
  attach(id: number, next: number): void {
    this.table.attach(id, next);
  }

  /** The descriptor after `id` in its chain; -1 when it is the last. */
  next(id: number): number {
    return this.table.next(id);
  }

  /**
   * Acquires and writes a chain: what the device reads first, then what it writes.
   *
   * @returns The head, to be offered; -1 when there are too few free descriptors, and then none is taken.
   * @throws {TypeError} A segment to be read after one to be written.
   */
  addChain(segments: readonly Segment[]): number {
    checkSegments(segments);
    if (segments.length > this.free) return -1;
    const ids = segments.map(() => this.acquire());
    this.table.writeChain(ids, segments);
    return ids[0] ?? -1;
  }

  /**
   * The same through an indirect table: takes one descriptor, however many segments there are.
   *
   * @throws {RangeError} More segments than a table has room for.
   * Spec: Virtio 1.3 §2.7.5.3 "Indirect Descriptors".
   */
  addIndirect(segments: readonly Segment[]): number {
    this.table.checkIndirect(segments);
    const head = this.acquire();
    if (head >= 0) this.table.writeIndirect(head, segments);
    return head;
  }

  /** Looks how many chains the device has used; {@link take} returns them. */
  poll(): number {
    if (this.#fault) throw this.#fault;
    // Pairs with vhost's release store of used->idx: the entries are there when the index is.
    this.#seenUsed = loadAcquire(this.words16, this.places.usedIdx);
    const count = (this.#seenUsed - this.usedIndex) & 0xffff;
    if (count > this.inFlight) {
      this.fail(`used index ${String(count)} ahead with ${String(this.inFlight)} chains in flight`);
    }
    return count;
  }

  /** The head of the next used chain of those that {@link poll} saw; -1 when there is none left. */
  take(): number {
    if (this.usedIndex === this.#seenUsed) return -1;
    const place = this.usedIndex & this.mask;
    const at = this.places.usedRing + 2 * place;
    const used = this.words32[at] ?? 0;
    if (used !== this.ids[place]) this.#takeOutOfTurn(used);
    const head = this.ids[place] ?? 0;
    const length = this.words32[at + 1] ?? 0;
    const room = this.table.writable(head);
    if (length > room && room > 0) this.#failLength(head, length, room);
    this.usedIndex = (this.usedIndex + 1) & 0xffff;
    this.takenLength = length;
    return head;
  }

  /**
   * Takes chains that {@link poll} saw, as many as were used in turn: their heads follow one another. Only
   * where each chain is one descriptor, and all have the same length; {@link usedLength} tells the rest.
   *
   * @param most  How many at the most.
   * @param room  Bytes that the device may write to each.
   * @returns How many; the first is {@link rowStart}. 0: {@link take} has to look, or there is none.
   */
  takeRow(most: number, room: number): number {
    const place = this.usedIndex & this.mask;
    const left = (this.#seenUsed - this.usedIndex) & 0xffff;
    const count = Math.min(left, most, this.size - place);
    if (count === 0 || this.order.displaced > 0) return 0;
    if (!this.order.areInTurn(this.words32, this.places.usedRing, place, count)) return 0;
    this.rowStart = place;
    this.#rowLimit = room;
    this.usedIndex = (this.usedIndex + count) & 0xffff;
    return count;
  }

  /**
   * The used length of a chain of the row that {@link takeRow} took last.
   *
   * @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: it can't be true.
   */
  usedLength(head: number): number {
    const length = this.words32[this.usedLengths.at + 2 * head] ?? 0;
    if (length > this.#rowLimit) this.#failLength(head, length, this.#rowLimit);
    return length;
  }

  #failLength(head: number, length: number, room: number): never {
    const bytes = `${String(length)} of ${String(room)} writable bytes`;
    this.fail(`used length ${bytes}, head ${String(head)}`);
  }

  /** Frees a chain that was taken. */
  release(head: number): void {
    for (let id = head; id >= 0; id = this.table.unlink(id)) this.cancel(id);
  }

  /**
   * Takes and frees every chain that {@link poll} saw: of a queue whose chains the device only reads.
   *
   * @returns How many there were.
   */
  releaseUsed(): number {
    const count = (this.#seenUsed - this.usedIndex) & 0xffff;
    const place = this.usedIndex & this.mask;
    if (
      this.taken === 0 &&
      this.order.areInTurn(this.words32, this.places.usedRing, place, count)
    ) {
      this.freeInTurn(count);
    } else {
      for (let i = 0; i < count; i++) this.release(this.take());
    }
    return count;
  }

  /**
   * Asks for a call once `after` more chains are used.
   *
   * @returns True when so many are used already and no call will come: {@link poll} again.
   */
  armCalls(after = 1): boolean {
    return this.notifications.arm(this.usedIndex, after);
  }

  /** Asks for no calls until {@link armCalls}. A hint: one may still come. */
  disarmCalls(): void {
    this.notifications.disarm(this.usedIndex);
  }

  /** Heads of the chains that the device has not given back. */
  outstanding(): number[] {
    const at = (i: number) => this.ids[(this.usedIndex + i) & this.mask] ?? -1;
    return Array.from({ length: this.inFlight }, (_, i) => at(i));
  }

  /**
   * Begins anew: ring memory zeroed, every descriptor free, indices at `base`. Only while the device
   * does not use the queue. Descriptors have to be written again.
   */
  reset(base = 0): void {
    checkIndex(base);
    this.words16.fill(0);
    this.restart(base);
    this.#seenUsed = base;
    this.#fault = undefined;
    storeRelease(this.words16, this.places.availIdx, base);
    storeRelease(this.words16, this.places.usedIdx, base);
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

  /** The device used one that was not the next: it becomes the next. */
  #takeOutOfTurn(head: number): void {
    const place = this.order.find(head, this.usedIndex, this.inFlight);
    if (place < 0) this.fail(`used head ${String(head)} is not in flight`);
    this.swap(place, this.usedIndex & this.mask);
  }
}
