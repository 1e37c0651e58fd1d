import type { EventEmitter } from 'node:events';

import type { Arena, SlotArea } from './arena.js';
import type { Frame } from './frame.js';
import { Loans } from './loans.js';
import { forwardHeader } from './offload.js';
import type { PortEvents } from './port.js';
import { ringBroken } from './receive-path.js';
import { SoftwareOffload } from './software-offload.js';
import { Reservations } from './reservations.js';
import type { Reservation } from './reservations.js';
import { newRingCounters } from './statistics.js';
import type { TransmitStatistics } from './statistics.js';
import { Transmitter } from './transmit.js';
import type { TransmitLimits } from './transmit.js';
import type { VringEvents } from '../dataplane/queue-pair.js';
import type { Fault, RingProgress } from '../dataplane/repair.js';
import { VhostError, misuse } from '../errors.js';
import type { DriverQueue } from '../ring/driver-queue.js';
import type { NetHeader } from '../ring/net-header.js';

/** Frames after which the worker gets them although the caller goes on: it works while we do. */
const BATCH = 32;

/** What a transmit path works with. */
export interface TransmitPathOptions {
  readonly port: EventEmitter<PortEvents>;
  readonly queue: DriverQueue;
  readonly slots: SlotArea;
  readonly events: VringEvents;
  readonly limits: TransmitLimits;
  readonly onFault: (fault: Fault) => void;
  /** Makes another port's memory known to the device; false when it can't be. */
  readonly connect: (arena: Arena) => boolean;
}

/** How a ring goes on after the device had let go of it. */
export interface RingRecovery {
  /** The avail index from which the device is to read. */
  readonly base: number;
  /** Frames that the device had not seen. */
  readonly unsent: number;
  /** Frames that the device took and never gave back: sent or not, nobody knows. */
  readonly unknown: number;
}

interface Waiter {
  resolve: () => void;
  reject: (error: Error) => void;
}

/** The transmit side of a port: when to let the worker see frames, whom to wake, when to reclaim. */
export class TransmitPath {
  /** Bytes of the longest frame. */
  readonly longest: number;

  readonly #port: EventEmitter<PortEvents>;
  readonly #queue: DriverQueue;
  readonly #transmitter: Transmitter;
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
  #armed = false;
  #full = 0;
  #lost = 0;
  #staged = 0;
  #flushScheduled = false;
  #needDrain = false;
  #waiters: Waiter[] = [];
  #closed = false;

  constructor(options: TransmitPathOptions) {
    this.#port = options.port;
    this.#queue = options.queue;
    this.#events = options.events;
    this.#onFault = options.onFault;
    this.#reservations = new Reservations(options.queue.size);
    this.longest = Math.min(options.limits.longest, capacity(options.slots));
    this.#loans = new Loans(options.queue, options.slots, options.connect);
    const limits = { ...options.limits, longest: this.longest };
    this.#transmitter = new Transmitter(options.queue, options.slots, limits, this.#loans);
  }

  /** Begins to listen to the worker. */
  start(): void {
    this.#events.call.watch(() => {
      this.#counters.calls++;
      this.#completed();
    });
    this.#events.err.watch(() => {
      this.#onFault(ringBroken('transmit'));
    });
    // Nothing to wait for keeps the process alive; what the caller waits for does.
    this.#events.call.unref();
    this.#events.err.unref();
    this.#rest();
  }

  send(bytes: Uint8Array, header: Readonly<NetHeader> | undefined): boolean {
    const checked = this.#check(bytes, header);
    if (!this.#transmitter.put(bytes, checked) && !this.#retry(bytes, checked)) return false;
    this.#counted(bytes.length);
    return true;
  }

  /** From where it was received, when the device can reach that; else from a copy. */
  forward(frame: Frame): boolean {
    if (this.#closed) throw closed();
    if (!frame.complete && !this.#transmitter.accepts(frame.header)) {
      return this.#forwardInSoftware(frame);
    }
    if (!this.#loans.reaches(frame)) return this.#forwardCopy(frame);
    const { length } = frame;
    if (frame.area.pressing) this.#recall(frame.area);
    if (!this.#transmitter.putReceived(frame)) {
      const room = this.reclaim() > 0;
      if (!room || !this.#transmitter.putReceived(frame)) return this.#refuse();
    }
    this.#counted(length);
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

  sendBatch(frames: readonly Uint8Array[]): number {
    if (!Array.isArray(frames)) throw misuse.type('frames', 'an array of Uint8Array', frames);
    let taken = 0;
    for (const frame of frames as readonly Uint8Array[]) {
      if (!this.send(frame, undefined)) break;
      taken++;
    }
    return taken;
  }

  reserve(length: number): Reservation | undefined {
    if (this.#closed) throw closed();
    this.#transmitter.accept(length, undefined);
    let slot = this.#transmitter.acquireOne(length);
    if (slot < 0 && this.#makeRoom()) slot = this.#transmitter.acquireOne(length);
    if (slot < 0) return undefined;
    return this.#reservations.make(this.#transmitter.view(slot, length), slot);
  }

  commit(reservation: Reservation, header: Readonly<NetHeader> | undefined): void {
    if (this.#closed) throw closed();
    const { length } = reservation.bytes;
    const checked = this.#transmitter.accept(length, header);
    const slot = this.#reservations.use(reservation);
    this.#transmitter.offerReserved(slot, length, checked);
    this.#counted(length);
  }

  cancel(reservation: Reservation): void {
    if (this.#closed) throw closed();
    this.#transmitter.cancel(this.#reservations.use(reservation));
    // Who was refused may wait for this very slot, and no frame be on its way that brings a call.
    if (this.#needDrain) this.#events.call.signal();
  }

  flush(): void {
    if (this.#closed) throw closed();
    if (this.#staged === 0) return;
    this.#staged = 0;
    this.#counters.batches++;
    if (this.#queue.publish()) {
      this.#counters.kicks++;
      this.#events.kick.signal();
    } else {
      this.#counters.kicksSuppressed++;
    }
    if (this.#loans.pressing && !this.#armed) this.#arm();
  }

  drained(): Promise<void> {
    if (this.#closed) return Promise.reject(closed());
    this.flush();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#completed();
    });
  }

  /** Frames that the worker has not completed, and how far it is; nothing is taken back. */
  progress(): RingProgress {
    return this.#transmitter.progress();
  }

  /** Wakes the worker although it may know already. */
  kick(): void {
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
    const { unsent, unknown } = this.#transmitter.account(base);
    if (!anew && unknown === 0) return { base, unsent: 0, unknown: 0 };
    this.#transmitter.restart(this.#reservations.bySlot);
    this.#staged = 0;
    this.#lost += unsent + unknown;
    this.#settle(unsent + unknown > 0 ? lost(unsent + unknown) : undefined);
    return { base: 0, unsent, unknown };
  }

  /** The ring goes on after a repair: who waited for room has it, and is told in a turn of its own. */
  resumed(): void {
    this.#events.call.signal();
  }

  /** Whether something of this arena is still out; it will not be lent from again. */
  stopLending(arena: Arena): boolean {
    this.reclaim();
    this.#loans.forget(arena);
    return this.#loans.has(arena);
  }

  close(): void {
    this.#closed = true;
    this.#settle(closed());
  }

  /** The device is gone: other ports' frames go back to them. */
  returnLoans(): void {
    this.#loans.returnAll();
  }

  /** Takes back completed slots; how many. What can't be true is for a repair, not for the caller. */
  reclaim(): number {
    try {
      return this.#transmitter.reclaim();
    } catch (error) {
      this.#onFault({ cause: 'corrupt', ring: 'transmit', message: (error as Error).message });
      return 0;
    }
  }

  statistics(): TransmitStatistics {
    this.reclaim();
    const { inFlight } = this.#queue;
    return { ...this.#counters, full: this.#full, lost: this.#lost, inFlight };
  }

  /** From the slots it came in straight to ours, without a copy in one piece between. */
  #sendPieces(frame: Frame, header: Readonly<NetHeader>): boolean {
    if (this.#closed) throw closed();
    const pieces = frame.pieces();
    // Not what the frame says: of a port that was closed nothing is left.
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const checked = this.#transmitter.accept(length, header);
    if (!this.#transmitter.putPieces(pieces, length, checked)) {
      const room = this.reclaim() > 0;
      if (!room || !this.#transmitter.putPieces(pieces, length, checked)) return this.#refuse();
    }
    this.#counted(length);
    return true;
  }

  /** Sends the complete frames that an unfinished one stands for: all of them, or none. */
  #forwardInSoftware(frame: Frame): boolean {
    if (this.#closed) throw closed();
    const finished = this.#software.finish(frame);
    if (!this.#transmitter.hasRoomFor(finished)) return this.#refuse();
    for (const bytes of finished) {
      this.#transmitter.put(bytes, undefined);
      this.#counted(bytes.length);
    }
    return true;
  }

  #check(bytes: Uint8Array, header: Readonly<NetHeader> | undefined): NetHeader | undefined {
    if (this.#closed) throw closed();
    if (!(bytes instanceof Uint8Array)) throw misuse.type('frame', 'a Uint8Array', bytes);
    return this.#transmitter.accept(bytes.length, header);
  }

  /** Once more, with what is completed taken back. That may still be too little for a long frame. */
  #retry(bytes: Uint8Array, header: Readonly<NetHeader> | undefined): boolean {
    const room = this.reclaim() > 0;
    return (room && this.#transmitter.put(bytes, header)) || this.#refuse();
  }

  /** Takes back completed slots. When there are none: asks to be called, and says no. */
  #makeRoom(): boolean {
    return this.reclaim() > 0 || this.#refuse();
  }

  #refuse(): false {
    this.flush();
    this.#full++;
    this.#needDrain = true;
    this.#arm();
    return false;
  }

  #counted(byteLength: number): void {
    this.#counters.frames++;
    this.#counters.bytes += byteLength;
    if (++this.#staged >= BATCH) {
      this.flush();
    } else if (!this.#flushScheduled) {
      this.#flushScheduled = true;
      queueMicrotask(this.#flushLater);
    }
  }

  /** Asks for a call when three quarters are used (there is room worth waking for), or all. */
  #arm(): void {
    const inFlight = this.#queue.inFlight;
    const early = this.#needDrain || this.#loans.pressing;
    const after = early ? Math.max(1, (inFlight * 3) >> 2) : inFlight;
    this.#armed = true;
    this.#events.call.ref();
    // They may be used already, and then no call comes: signal it to ourselves.
    if (this.#queue.armCalls(after)) this.#events.call.signal();
  }

  #completed(): void {
    this.reclaim();
    if (this.#queue.broken) return;
    if (this.#queue.inFlight === 0) this.#settle();
    try {
      this.#drain();
    } finally {
      if (!this.#closed) this.#listen(); // also when a handler throws
    }
  }

  #drain(): void {
    const { inFlight, free, size } = this.#queue;
    // With nothing on its way, what is free is all there will be: the rest is reserved.
    const enough = inFlight === 0 ? 1 : Math.max(1, size >> 2);
    if (!this.#needDrain || free < enough) return;
    this.#needDrain = false;
    this.#port.emit('drain');
  }

  /** Asks for the next call, if there is somebody to tell of it. */
  #listen(): void {
    if (this.#needDrain || this.#waiters.length > 0 || this.#loans.pressing) this.#arm();
    else this.#rest();
  }

  /** Tells who waits for `drained()`. */
  #settle(error?: Error): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) {
      if (error) waiter.reject(error);
      else waiter.resolve();
    }
  }

  #rest(): void {
    this.#armed = false;
    this.#queue.disarmCalls();
    this.#events.call.unref();
  }
}

function lost(frames: number): VhostError {
  return new VhostError('ERR_VHOST_FRAMES_LOST', `a repair lost ${String(frames)} frames`);
}

function closed(): VhostError {
  return new VhostError('ERR_VHOST_CLOSED', 'the port is closed');
}

/** Bytes of frame that the whole ring can hold. */
function capacity(slots: SlotArea): number {
  return slots.capacity + (slots.count - 1) * slots.tailCapacity;
}
