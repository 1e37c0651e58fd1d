import type { SlotArea } from './arena.js';
import { FrameLimits } from './frame-limits.js';
import type { TransmitLimits } from './frame-limits.js';
import type { Frame } from './frame.js';
import type { Loans } from './loans.js';
import { forwardHeader } from './offload.js';
import type { Reservation } from './reservations.js';
import { ReservedSlots } from './reserved-slots.js';
import { SlotHeaders } from './slot-headers.js';
import { VhostError, misuse } from '../errors.js';
import type { RingProgress } from '../dataplane/repair.js';
import type { CompleteFrames } from '../offload/segment.js';
import type { DriverQueue } from '../ring/driver-queue.js';
import { PLAIN_HEADER, isPlain, readHeader } from '../ring/net-header.js';
import type { NetHeader } from '../ring/net-header.js';

/** Frames of `sendInPlace` that lie together, and go out from there. */
export interface FrameRun {
  /**
   * From the first byte of the first frame to the last of the last, with what earlier frames left there.
   * What lies between two frames is not sent. Not to be written to later: the headers of frames are there.
   */
  readonly bytes: Uint8Array;
  /** Bytes from the beginning of a frame to that of the next. */
  readonly stride: number;
  /** Frames. */
  readonly count: number;
  /** Which of the call's frames is the first of these, counted from 0. */
  readonly index: number;
}

/**
 * Writes the frames of one run, before it returns. A run is handed out again, with the same `index`, when
 * a repair came meanwhile.
 */
export type WriteRun = (run: FrameRun) => void;

/** Found once: to look it up on a slot's view costs half as much as copying a short frame does. */
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with the view as `this`
const { set } = Uint8Array.prototype;

const NOTHING = new Uint8Array(0);

/**
 * Fills the slots of a transmit ring, and takes them back. When to let the device see them and whom
 * to wake is the port's business.
 */
export class Transmitter {
  /** Frames that go out from where they were received. */
  readonly loans: Loans;
  readonly #queue: DriverQueue;
  readonly #slots: SlotArea;
  /** Bytes; here, where it is at hand for each frame. */
  readonly #headerSize: number;
  readonly #limits: FrameLimits;
  readonly #payloads: readonly Uint8Array[];
  /** Per slot, the view that was made last: frames of one length need no other. */
  readonly #views: Uint8Array[];
  readonly #headers: SlotHeaders;
  /** Slots that the caller writes. */
  readonly reserved: ReservedSlots;
  /** Frames are being written in place, by a function of the caller's. */
  #writing = false;
  #restarts = 0;
  readonly #received = { ...PLAIN_HEADER };

  constructor(queue: DriverQueue, slots: SlotArea, limits: TransmitLimits, loans: Loans) {
    this.loans = loans;
    this.#queue = queue;
    this.#slots = slots;
    this.#headerSize = slots.headerSize;
    this.#limits = new FrameLimits(limits);
    this.#payloads = slots.payloads;
    this.#views = [...slots.payloads];
    this.#headers = new SlotHeaders(slots);
    this.reserved = new ReservedSlots(queue, slots, this.#headers);
    this.#describe(() => false);
  }

  /**
   * Begins anew with a ring that the device does not use. Whatever was in flight is free again.
   *
   * @param reservations  Per slot, the reservation that begins there.
   */
  restart(reservations: readonly (Reservation | undefined)[]): void {
    this.#restarts++;
    this.#queue.reset();
    let end = 0;
    this.#describe((slot) => {
      const reservation = reservations[slot];
      if (reservation) end = slot + this.reserved.countFor(reservation.bytes.length);
      return slot < end;
    });
    this.loans.returnAll();
    this.reserved.reset();
    for (const [slot, reservation] of reservations.entries()) {
      if (reservation) this.reserved.acquireAgain(slot, reservation.bytes.length);
    }
  }

  #describe(isReserved: (slot: number) => boolean): void {
    for (let slot = 0; slot < this.#slots.count; slot++) {
      this.#queue.setDescriptor(slot, this.#slots.address(slot), this.#headerSize, 0);
    }
    this.#headers.reset(isReserved);
  }

  /** Where a frame of this length is written to, that begins in this slot. */
  view(slot: number, length: number): Uint8Array {
    return length > this.#slots.capacity
      ? this.reserved.view(slot, length)
      : this.#viewOfOne(slot, length);
  }

  #viewOfOne(slot: number, length: number): Uint8Array {
    const last = this.#views[slot] ?? NOTHING;
    return last.length === length ? last : this.#makeView(slot, length);
  }

  #makeView(slot: number, length: number): Uint8Array {
    const payload = this.#payloads[slot] ?? NOTHING;
    return (this.#views[slot] = payload.subarray(0, length));
  }

  /** Takes back what the device has completed; how many frames that were. */
  reclaim(): number {
    const queue = this.#queue;
    const count = queue.poll();
    if (this.loans.count === 0) return queue.releaseUsed();
    for (let i = 0; i < count; i++) {
      const head = queue.take();
      this.loans.settle(head);
      queue.release(head);
    }
    return count;
  }

  /** How far the device is, without taking anything back. */
  progress(): RingProgress {
    const completed = this.#queue.poll();
    const used = (this.#queue.nextUsed + completed) & 0xffff;
    return { waiting: this.#queue.inFlight - completed, used };
  }

  /**
   * Takes back what the device completed before it let go of the ring, and counts the rest.
   *
   * @param base  The avail index that the device would have read next.
   */
  account(base: number): { unsent: number; unknown: number; completed: number } {
    const before = this.#queue.inFlight;
    try {
      this.reclaim();
    } catch {
      // The device wrote nonsense: what is not known to be completed counts as lost.
    }
    const { inFlight, nextAvail } = this.#queue;
    const unsent = Math.min((nextAvail - base) & 0xffff, inFlight);
    return { unsent, unknown: inFlight - unsent, completed: before - inFlight };
  }

  /**
   * Checks what is to be sent.
   *
   * @returns The header as it was checked: valid until the next call.
   * @throws {RangeError} The length or the header does not fit.
   * @throws {VhostError} `ERR_VHOST_STATE`: frames are being written in place.
   */
  accept(length: number, header: Readonly<NetHeader> | undefined): NetHeader | undefined {
    this.checkState();
    return this.#limits.check(length, header);
  }

  /** Checks what is to be sent with a header that is not known yet. Throws what {@link accept} throws. */
  acceptLength(length: number): void {
    this.checkState();
    this.#limits.checkLength(length);
  }

  /** @throws {VhostError} `ERR_VHOST_STATE`: frames are being written in place. */
  checkState(): void {
    if (this.#writing) throw new VhostError('ERR_VHOST_STATE', 'a frame is being written in place');
  }

  /** Whether the device finishes what a received header says is unfinished. */
  accepts(header: Readonly<NetHeader>): boolean {
    return this.#limits.accept(header);
  }

  /**
   * How many slots all of these take, put one after the other.
   *
   * @throws {RangeError} They never can be: one is too long, or they are more than the whole ring holds.
   */
  slotsFor(frames: CompleteFrames): number {
    this.accept(frames.length, undefined);
    const { size } = this.#queue;
    const slots =
      (frames.count - 1) * this.#slots.slotsFor(frames.length) +
      this.#slots.slotsFor(frames.lastLength);
    if (slots > size) {
      throw misuse.range('frame', `finished in at most ${String(size)} slots`, slots);
    }
    return slots;
  }

  /** Begins a run of frames of one length, if every slot is ready for it: {@link putInRun}. */
  openRun(length: number, most: number): boolean {
    return this.#headers.markedCount === 0 && this.#queue.openRun(this.#headerSize + length, most);
  }

  /**
   * Copies a complete frame to the next slot of a run. Nothing is left to be written or looked at but
   * the frame itself. False: there is no run for that length, or it is at its end.
   */
  putInRun(bytes: Uint8Array, length: number): boolean {
    const queue = this.#queue;
    if (this.#headerSize + length !== queue.runLength) return false;
    const slot = queue.offerInRun();
    if (slot < 0) return false;
    set.call(this.#payloads[slot] ?? NOTHING, bytes);
    return true;
  }

  /**
   * Copies complete frames of one length, one behind the other in `bytes`, to the slots that are next,
   * and offers none of them. False: these are not ready for a run, and nothing was copied.
   *
   * @param count  How many; no more than slots are free.
   */
  copyToRun(bytes: Uint8Array, from: number, length: number, count: number): boolean {
    if (!this.openRun(length, count)) return false;
    this.#queue.closeRun(); // nothing else is to be sent before these
    const first = this.#queue.nextAvail & (this.#queue.size - 1);
    const inRow = Math.min(count, this.#slots.count - first);
    this.#slots.fill(first, bytes, from, length, inRow);
    this.#slots.fill(0, bytes, from + inRow * length, length, count - inRow);
    return true;
  }

  /** Copies a complete frame that fits one slot, and offers it. False: no slot is free. */
  putShort(bytes: Uint8Array, length: number): boolean {
    const slot = this.#queue.offerNext(this.#headerSize + length);
    if (slot < 0) return false;
    if (this.#headers.markedCount > 0) this.#headers.clean(slot);
    set.call(this.#payloads[slot] ?? NOTHING, bytes);
    return true;
  }

  /**
   * Offers frames that `write` writes in place, in slots that lie together: none when it throws, nor when
   * the ring began anew meanwhile, for then they lie in other slots than those that are next.
   *
   * @param count  How many at the most; no more than slots are free.
   * @param index  The number of the first.
   * @returns How many.
   */
  putWritten(count: number, length: number, index: number, write: WriteRun): number {
    const restarts = this.#restarts;
    const isRun = this.openRun(length, count);
    this.#queue.closeRun(); // nothing else is to be sent before these
    const first = this.#queue.freeAt(0);
    const inRow = this.#queue.freeInRow(count);
    const bytes = this.#slots.run(first, inRow, length);
    this.#writing = true;
    try {
      write({ bytes, stride: this.#slots.stride, count: inRow, index });
    } finally {
      this.#writing = false;
      // The headers lie between the frames: whatever was written there does not stay.
      if (bytes.length > 0) this.#headers.cleanRun(first, inRow);
    }
    const isVoid = bytes.length === 0 || this.#restarts !== restarts; // closed, or begun anew
    if (isVoid) return 0;
    if (isRun) this.#queue.offerRun(inRow);
    else for (let i = 0; i < inRow; i++) this.#queue.offerNext(this.#headerSize + length);
    return inRow;
  }

  /**
   * Copies a frame into free slots and offers it. False: too few were free, nothing was taken.
   *
   * @param anyhow  A frame of several slots also where they do not follow each other.
   */
  put(bytes: Uint8Array, header: Readonly<NetHeader> | undefined, anyhow = true): boolean {
    const { length } = bytes;
    if (header === undefined && length <= this.#slots.capacity) return this.putShort(bytes, length);
    return this.putPieces([bytes], length, header, anyhow);
  }

  /** The same for a frame whose bytes lie in several pieces, `length` altogether. */
  putPieces(
    pieces: readonly Uint8Array[],
    length: number,
    header: Readonly<NetHeader> | undefined,
    anyhow: boolean,
  ): boolean {
    if (length > this.#slots.capacity) {
      if (this.#putInOnePiece(pieces, length, header)) return true;
      if (!anyhow) return false;
    }
    const head = this.#offerSlots(length);
    if (head < 0) return false;
    this.#scatter(head, pieces);
    this.#writeHeader(head, header);
    return true;
  }

  /**
   * A long frame, where slots follow each other. With a descriptor for each slot, 64 KiB would span more pages than the
   * kernel takes without a copy: `MAX_SKB_FRAGS`, by default 17.
   */
  #putInOnePiece(
    pieces: readonly Uint8Array[],
    length: number,
    header: Readonly<NetHeader> | undefined,
  ): boolean {
    const first = this.reserved.acquire(length, this.#queue.size >> 3);
    if (first < 0) return false;
    try {
      this.#slots.copyTo(first, pieces, length);
    } catch (error) {
      this.reserved.cancel(first);
      throw error;
    }
    this.reserved.offer(first, length, header);
    return true;
  }

  /**
   * Offers a received frame where it lies. What only a receiver is told of its header is taken off.
   *
   * @returns False: too few descriptors were free, nothing was taken.
   * @throws {RangeError} The length or the header does not fit.
   */
  putReceived(frame: Frame): boolean {
    const header = frame.complete ? undefined : this.#unfinished(frame);
    this.accept(frame.length, header);
    const head = this.loans.lend(frame);
    if (head < 0) return false;
    if (!this.loans.hasHeader(frame)) this.#writeHeader(head, header);
    else frame.writeHeader(header);
    this.#queue.offer(head);
    return true;
  }

  /** What the device has to finish of a received frame; undefined: nothing. */
  #unfinished({ area, headerAt }: Frame): NetHeader | undefined {
    const { words16, headerSize } = area;
    const header = forwardHeader(readHeader(words16, headerAt, headerSize, this.#received));
    return isPlain(header) ? undefined : header;
  }

  /** Offers slots one behind the other, as many as a frame takes; they are freed with the first. */
  #offerSlots(length: number): number {
    const { capacity, tailCapacity } = this.#slots;
    if (this.#slots.slotsFor(length) > this.#queue.free) return -1;
    const head = this.#queue.offerNext(this.#headerSize + Math.min(length, capacity));
    let before = head;
    for (let rest = length - capacity; rest > 0; rest -= tailCapacity) {
      const slot = this.#queue.acquire();
      this.#headers.mark(slot); // its bytes begin where another frame has its header
      this.#queue.setLength(slot, Math.min(rest, tailCapacity));
      this.#queue.chain(before, slot);
      before = slot;
    }
    return head;
  }

  #writeHeader(slot: number, header: Readonly<NetHeader> | undefined): void {
    if (header !== undefined) this.#headers.write(slot, header);
    else if (this.#headers.markedCount > 0) this.#headers.clean(slot);
  }

  /** @throws {RangeError} The frame is longer than a slot. */
  checkOneSlot(length: number): void {
    if (length <= this.#slots.capacity) return;
    throw misuse.range('length', `at most ${String(this.#slots.capacity)} bytes`, length);
  }

  /** Copies what follows each other in `pieces` to the slots of a chain. */
  #scatter(head: number, pieces: readonly Uint8Array[]): void {
    let slot = head;
    let target = this.#slots.payloads[slot];
    let at = 0;
    for (let piece of pieces) {
      while (target && piece.length > target.length - at) {
        const fits = target.length - at;
        target.set(piece.subarray(0, fits), at);
        piece = piece.subarray(fits);
        slot = this.#queue.next(slot);
        target = this.#slots.tails[slot];
        at = 0;
      }
      target?.set(piece, at);
      at += piece.length;
    }
  }
}
