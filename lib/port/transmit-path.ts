import type { Arena, SlotArea } from './arena.js';
import { atEndOfTurn } from './end-of-turn.js';
import { MIN_FRAME } from './frame-limits.js';
import type { Frame } from './frame.js';
import { Loans } from './loans.js';
import { forwardHeader } from './offload.js';
import { ringBroken } from './receive-path.js';
import { SoftwareOffload } from './software-offload.js';
import { Reservations } from './reservations.js';
import type { Reservation } from './reservations.js';
import { newRingCounters } from './statistics.js';
import type { TransmitStatistics } from './statistics.js';
import { BATCH, BulkTransmit } from './transmit-bulk.js';
import type { BulkPath, PackedFrames } from './transmit-bulk.js';
import { Transmitter } from './transmit.js';
import type { WriteRun } from './transmit.js';
import type { TransmitPathOptions } from './transmit-options.js';
import { TransmitWaiters, lost } from './transmit-waiters.js';
import type { VringEvents } from '../dataplane/queue-pair.js';
import type { Fault, RingPlace, RingProgress } from '../dataplane/repair.js';
import { VhostError, misuse } from '../errors.js';
import type { DriverQueue } from '../ring/driver-queue.js';
import type { NetHeader } from '../ring/net-header.js';

/** How a ring goes on after the device had let go of it. */
export interface RingRecovery {
  /** The avail index from which the device is to read. */
  readonly base: number;
  /** Frames that the device had not seen. */
  readonly unsent: number;
  /** Frames that the device took and never gave back: sent or not, nobody knows. */
  readonly unknown: number;
}

/** The transmit side of a port: when to let the worker see frames, whom to wake, when to reclaim. */
export class TransmitPath {
  /** Bytes of the longest frame. */
  readonly longest: number;

  readonly #queue: DriverQueue;
  readonly #transmitter: Transmitter;
  readonly #bulk: BulkTransmit;
  readonly #events: VringEvents;
  readonly #counters = newRingCounters();
  readonly #software = new SoftwareOffload();
  readonly #flushLater = () => {
    this.#flushScheduled = false;
    if (!this.#closed) this.flush();
  };
  readonly #reservations: Reservations;
  readonly #onFault: (fault: Fault) => void;
  readonly #loans: Loans;
  /** Who waits for this ring. */
  readonly waiters: TransmitWaiters;
  /** Bytes of the longest frame that fits one slot; -1 while nothing may be sent unasked. */
  #longestShort: number;
  readonly #longestSlot: number;
  /** Bytes of the frames that are offered and not published. */
  #unpublishedBytes = 0;
  #full = 0;
  #lost = 0;
  #flushScheduled = false;
  #closed = false;

  constructor(options: TransmitPathOptions) {
    const { queue, slots, events } = options;
    this.#queue = queue;
    this.#events = events;
    this.#onFault = options.onFault;
    this.#reservations = new Reservations(queue.size);
    this.longest = Math.min(options.limits.longest, slots.total);
    const { longestPlain = this.longest } = options.limits;
    this.#longestSlot = Math.min(longestPlain, this.longest, slots.capacity);
    this.#longestShort = this.#longestSlot;
    this.#loans = new Loans(queue, slots, options.connect);
    const limits = { ...options.limits, longest: this.longest };
    this.#transmitter = new Transmitter(queue, slots, limits, this.#loans);
    this.#bulk = new BulkTransmit(queue, this.#transmitter, this.#bulkPath());
    this.waiters = new TransmitWaiters({
      port: options.port,
      queueIndex: options.queueIndex ?? 0,
      queue,
      loans: this.#loans,
      call: events.call,
      reclaim: () => this.reclaim(),
    });
  }

  #bulkPath(): BulkPath {
    return {
      checkOpen: () => {
        if (this.#closed) throw closed();
      },
      send: (bytes) => this.send(bytes, undefined),
      makeRoom: (slots) => this.#makeRoom(slots),
      offered: (byteLength) => {
        if (!this.#closed) this.#offered(byteLength);
      },
      allowShort: (allow) => {
        this.#longestShort = allow && !this.#closed ? this.#longestSlot : -1;
      },
    };
  }

  /** Begins to listen to the worker. */
  start(): void {
    this.#events.err.watch(() => {
      this.#onFault(ringBroken('transmit'));
    });
    this.#events.err.unref();
    this.waiters.start();
  }

  send(bytes: Uint8Array, header: Readonly<NetHeader> | undefined): boolean {
    // What is usual first, with as little as can be: everything else is sorted out below.
    if (header === undefined && bytes instanceof Uint8Array) {
      const { length } = bytes;
      if (this.#transmitter.putInRun(bytes, length)) {
        this.#unpublishedBytes += length;
        return true;
      }
      if (length >= MIN_FRAME && length <= this.#longestShort)
        return this.#sendShort(bytes, length);
    }
    return this.#sendAny(bytes, header);
  }

  #sendShort(bytes: Uint8Array, length: number): boolean {
    const { unpublished } = this.#queue;
    // The last of a batch goes the usual way, which publishes it.
    if (unpublished === 0 && this.#transmitter.openRun(length, BATCH - 1)) {
      this.#flushSoon();
      return this.send(bytes, undefined);
    }
    if (!this.#transmitter.putShort(bytes, length)) return this.#sendAny(bytes, undefined);
    this.#offered(length);
    return true;
  }

  #sendAny(bytes: Uint8Array, header: Readonly<NetHeader> | undefined): boolean {
    if (this.#closed) throw closed();
    if (!(bytes instanceof Uint8Array)) throw misuse.type('frame', 'a Uint8Array', bytes);
    const { length } = bytes;
    const checked = this.#transmitter.accept(length, header);
    return this.#put(length, (anyhow) => this.#transmitter.put(bytes, checked, anyhow));
  }

  /** From where it was received, when the device can reach that; else from a copy. */
  forward(frame: Frame): boolean {
    if (this.#closed) throw closed();
    if (!frame.complete && !this.#transmitter.accepts(frame.header)) {
      return this.#forwardInSoftware(frame);
    }
    if (!this.#loans.reaches(frame)) return this.#forwardCopy(frame);
    // Once for what is let go together: each frame by itself would pay for a look.
    if (this.#queue.unpublished === 0 && frame.area.pressing) this.#recall(frame.area);
    return this.#lend(frame);
  }

  /** As {@link #put}, without a closure for each frame. */
  #lend(frame: Frame): boolean {
    const { length } = frame;
    const sender = this.#transmitter;
    if (!sender.putReceived(frame) && !(this.reclaim() > 0 && sender.putReceived(frame))) {
      return this.#refuse();
    }
    this.#offered(length);
    return true;
  }

  /** What has been read goes back; where it is ours that is enough. */
  #recall(area: SlotArea): void {
    this.reclaim();
    if (area.pressing) area.arena?.recall();
  }

  #forwardCopy(frame: Frame): boolean {
    const header = forwardHeader(frame.header);
    return frame.contiguous ? this.send(frame.bytes, header) : this.#sendPieces(frame, header);
  }

  sendBatch(frames: readonly Uint8Array[] | PackedFrames): number {
    return this.#bulk.send(frames);
  }

  sendInPlace(count: number, length: number, write: WriteRun): number {
    return this.#bulk.sendInPlace(count, length, write);
  }

  reserve(length: number): Reservation | undefined {
    if (this.#closed) throw closed();
    this.#transmitter.acceptLength(length);
    const { reserved } = this.#transmitter;
    let slot = reserved.acquire(length);
    if (slot < 0 && this.reclaim() > 0) slot = reserved.acquire(length);
    if (slot >= 0) return this.#reservations.make(this.#transmitter.view(slot, length), slot);
    this.#refuse();
    return undefined;
  }

  commit(reservation: Reservation, header: Readonly<NetHeader> | undefined): void {
    if (this.#closed) throw closed();
    const { length } = reservation.bytes;
    const checked = this.#transmitter.accept(length, header);
    const slot = this.#reservations.use(reservation);
    this.#transmitter.reserved.offer(slot, length, checked);
    this.#offered(length);
  }

  cancel(reservation: Reservation): void {
    if (this.#closed) throw closed();
    this.#transmitter.reserved.cancel(this.#reservations.use(reservation));
    this.waiters.roomMade();
  }

  flush(): void {
    if (this.#closed) throw closed();
    if (this.#queue.unpublished === 0) return;
    this.#countBatch();
    if (this.#queue.publish()) {
      this.kick();
    } else {
      this.#counters.kicksSuppressed++;
    }
    this.waiters.wantLoans();
  }

  #countBatch(): void {
    this.#counters.frames += this.#queue.unpublished;
    this.#counters.bytes += this.#unpublishedBytes;
    this.#counters.batches++;
    this.#unpublishedBytes = 0;
  }

  drained(): Promise<void> {
    // What throws in here rejects.
    return new Promise((resolve) => {
      if (this.#closed) throw closed();
      this.#transmitter.checkState();
      this.flush();
      resolve(this.waiters.drained());
    });
  }

  /** Frames that the worker has not completed, and how far it is; nothing is taken back. */
  progress(): RingProgress {
    return this.#transmitter.progress();
  }

  /** The ring for who only looks. */
  get ringPlace(): RingPlace {
    const { size, indexPlaces } = this.#queue;
    return { ...indexPlaces, size };
  }

  /** Wakes the worker although it may know already. */
  kick(): void {
    this.#counters.kicks++;
    this.#events.kick.signal();
  }

  /**
   * The device has let go of the ring: what became of the frames that were on their way.
   *
   * @param base  The avail index that the device would have read next.
   * @param anew  Whether the ring must begin anew; also when the device kept some of it.
   * @returns Where the device is to go on, and what was lost.
   */
  recover(base: number, anew: boolean): RingRecovery {
    const { unsent, unknown, completed } = this.#transmitter.account(base);
    this.waiters.count(completed);
    this.waiters.settle(); // their frames are none of the lost
    if (!anew && unknown === 0) return { base, unsent: 0, unknown: 0 };
    if (this.#queue.unpublished > 0) this.#countBatch();
    this.#transmitter.restart(this.#reservations.bySlot);
    const frames = unsent + unknown;
    this.#lost += frames;
    this.waiters.count(frames);
    if (frames > 0) this.waiters.reject(lost(frames));
    return { base: 0, unsent, unknown };
  }

  /** The ring goes on after a repair: who waited for room has it, and is told in a turn of its own. */
  resumed(): void {
    this.waiters.nudge();
  }

  /** It will not go on: who waits for frames is told why. */
  giveUp(error: VhostError): void {
    this.waiters.giveUp(error);
  }

  /** Whether something of this arena is still out; it will not be lent from again. */
  stopLending(arena: Arena): boolean {
    this.reclaim();
    this.#loans.forget(arena);
    return this.#loans.has(arena);
  }

  close(): void {
    this.#closed = true;
    this.#longestShort = -1;
    this.#queue.closeRun();
    this.waiters.close(closed());
  }

  /** Somebody wants back what is lent: the device gets it now, and what it has read goes back. */
  hasten(): void {
    if (this.#closed) return;
    this.flush();
    this.reclaim();
  }

  /** The device is gone: other ports' frames go back to them. */
  returnLoans(): void {
    this.#loans.returnAll();
  }

  /** Takes back completed slots; how many. What can't be true is for a repair, not for the caller. */
  reclaim(): number {
    try {
      const count = this.#transmitter.reclaim();
      this.waiters.count(count);
      return count;
    } catch (error) {
      this.#onFault({ cause: 'corrupt', ring: 'transmit', message: (error as Error).message });
      return 0;
    }
  }

  statistics(): TransmitStatistics {
    this.reclaim();
    const { inFlight, unpublished } = this.#queue;
    const frames = this.#counters.frames + unpublished;
    const bytes = this.#counters.bytes + this.#unpublishedBytes;
    const [full, lost, { calls }] = [this.#full, this.#lost, this.waiters];
    return { ...this.#counters, frames, bytes, calls, full, lost, inFlight };
  }

  /** From the slots it came in straight to ours, without a copy in one piece between. */
  #sendPieces(frame: Frame, header: Readonly<NetHeader>): boolean {
    if (this.#closed) throw closed();
    const pieces = frame.pieces();
    // Not what the frame says: of a port that was closed nothing is left.
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const checked = this.#transmitter.accept(length, header);
    const sender = this.#transmitter;
    return this.#put(length, (anyhow) => sender.putPieces(pieces, length, checked, anyhow));
  }

  /** Sends the complete frames that an unfinished one stands for: all of them, or none. */
  #forwardInSoftware(frame: Frame): boolean {
    if (this.#closed) throw closed();
    const finished = this.#software.finish(frame);
    const slots = this.#transmitter.slotsFor(finished);
    if (slots > this.#queue.free && !this.#makeRoom(slots)) return false;
    for (const bytes of finished) {
      this.#transmitter.put(bytes, undefined);
      this.#offered(bytes.length);
    }
    return true;
  }

  /** Puts one frame; where room is short, once more with what is completed taken back. */
  #put(length: number, put: (anyhow: boolean) => boolean): boolean {
    // What was completed may make a row for a long frame: without one it is dearer.
    if (!put(false) && !(this.reclaim() > 0 && put(false)) && !put(true)) return this.#refuse();
    this.#offered(length);
    return true;
  }

  /** Takes back completed slots. When there are fewer than that: asks to be called, and says no. */
  #makeRoom(slots: number): boolean {
    this.reclaim();
    return this.#queue.free >= slots || this.#refuse();
  }

  #refuse(): false {
    this.flush();
    this.#full++;
    this.waiters.wantRoom();
    return false;
  }

  #offered(byteLength: number): void {
    this.#unpublishedBytes += byteLength;
    if (this.#queue.unpublished >= BATCH) this.flush();
    else this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    atEndOfTurn(this.#flushLater);
  }
}

function closed(): VhostError {
  return new VhostError('ERR_VHOST_CLOSED', 'the port is closed');
}
