import type { SlotArea } from './arena.js';
import type { Port } from './port.js';
import { ringBroken } from './receive-path.js';
import { newRingCounters } from './statistics.js';
import type { TransmitStatistics } from './statistics.js';
import { Transmitter } from './transmit.js';
import type { TransmitLimits } from './transmit.js';
import type { VringEvents } from '../dataplane/queue-pair.js';
import { VhostError, misuse } from '../errors.js';
import type { DriverQueue } from '../ring/driver-queue.js';
import type { NetHeader } from '../ring/net-header.js';

/** Frames after which the worker gets them although the caller goes on: it works while we do. */
const BATCH = 32;

/** A slot of the transmit ring, to be written in place and committed. */
export class Reservation {
  /** @internal */
  constructor(
    /** The frame: exactly as long as was asked for. */
    readonly bytes: Uint8Array,
    /** @internal -1 once committed or cancelled. */
    public slot: number,
  ) {}
}

/** What a transmit path works with. */
export interface TransmitPathOptions {
  readonly port: Port;
  readonly queue: DriverQueue;
  readonly slots: SlotArea;
  readonly events: VringEvents;
  readonly limits: TransmitLimits;
}

interface Waiter {
  resolve: () => void;
  reject: (error: Error) => void;
}

/** The transmit side of a port: when to let the worker see frames, whom to wake, when to reclaim. */
export class TransmitPath {
  /** Bytes of the longest frame. */
  readonly longest: number;

  readonly #port: Port;
  readonly #queue: DriverQueue;
  readonly #transmitter: Transmitter;
  readonly #events: VringEvents;
  readonly #counters = newRingCounters();
  readonly #flushLater = () => {
    this.#flushScheduled = false;
    if (!this.#closed) this.flush();
  };
  #full = 0;
  #staged = 0;
  #flushScheduled = false;
  #needDrain = false;
  #waiters: Waiter[] = [];
  #closed = false;

  constructor(options: TransmitPathOptions) {
    this.#port = options.port;
    this.#queue = options.queue;
    this.#events = options.events;
    this.longest = Math.min(options.limits.longest, capacity(options.slots));
    this.#transmitter = new Transmitter(options.queue, options.slots, {
      ...options.limits,
      longest: this.longest,
    });
  }

  start(): void {
    this.#queue.disarmCalls();
    this.#events.call.watch(() => {
      this.#counters.calls++;
      this.#completed();
    });
    this.#events.err.watch(() => {
      this.#port.emit('error', ringBroken('transmit'));
    });
    // Nothing to wait for keeps the process alive; what the caller waits for does.
    this.#events.call.unref();
    this.#events.err.unref();
  }

  send(bytes: Uint8Array, header: Readonly<NetHeader> | undefined): boolean {
    this.#check(bytes, header);
    if (!this.#transmitter.put(bytes, header) && !this.#retry(bytes, header)) return false;
    this.#counted(bytes.length);
    return true;
  }

  sendBatch(frames: readonly Uint8Array[]): number {
    if (!Array.isArray(frames)) throw misuse.type('frames', 'an array of Uint8Array', frames);
    let taken = 0;
    for (const frame of frames) {
      if (!this.send(frame, undefined)) break;
      taken++;
    }
    return taken;
  }

  reserve(length: number): Reservation | undefined {
    if (this.#closed) throw closed();
    this.#transmitter.check(length, undefined);
    let slot = this.#transmitter.acquireOne(length);
    if (slot < 0 && this.#makeRoom()) slot = this.#transmitter.acquireOne(length);
    if (slot < 0) return undefined;
    return new Reservation(this.#transmitter.view(slot, length), slot);
  }

  commit(reservation: Reservation, header: Readonly<NetHeader> | undefined): void {
    if (this.#closed) throw closed();
    const { slot, bytes } = reservation;
    if (slot < 0) throw misuse.type('reservation', 'one that was not committed yet', reservation);
    this.#transmitter.check(bytes.length, header);
    reservation.slot = -1;
    this.#transmitter.offer(slot, header);
    this.#counted(bytes.length);
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
  }

  drained(): Promise<void> {
    if (this.#closed) return Promise.reject(closed());
    this.flush();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#completed();
    });
  }

  close(): void {
    this.#closed = true;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(closed());
  }

  statistics(): TransmitStatistics {
    this.#transmitter.reclaim();
    return { ...this.#counters, full: this.#full, inFlight: this.#queue.inFlight };
  }

  #check(bytes: Uint8Array, header: Readonly<NetHeader> | undefined): void {
    if (this.#closed) throw closed();
    if (!(bytes instanceof Uint8Array)) throw misuse.type('frame', 'a Uint8Array', bytes);
    this.#transmitter.check(bytes.length, header);
  }

  #retry(bytes: Uint8Array, header: Readonly<NetHeader> | undefined): boolean {
    return this.#makeRoom() && this.#transmitter.put(bytes, header);
  }

  /** Takes back completed slots. When there are none: asks to be called, and says no. */
  #makeRoom(): boolean {
    if (this.#transmitter.reclaim() > 0) return true;
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
    const after = this.#needDrain ? Math.max(1, (inFlight * 3) >> 2) : inFlight;
    this.#events.call.ref();
    // They may be used already, and then no call comes: signal it to ourselves.
    if (this.#queue.armCalls(after)) this.#events.call.signal();
  }

  #completed(): void {
    try {
      this.#transmitter.reclaim();
    } catch (error) {
      this.#port.emit('error', error as Error);
      return;
    }
    const { inFlight, free, size } = this.#queue;
    if (inFlight === 0) this.#resolveAll();
    if (this.#needDrain && free >= size >> 2) {
      this.#needDrain = false;
      this.#port.emit('drain');
    }
    if (this.#closed) return;
    if (this.#needDrain || this.#waiters.length > 0) this.#arm();
    else this.#rest();
  }

  #resolveAll(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.resolve();
  }

  #rest(): void {
    this.#queue.disarmCalls();
    this.#events.call.unref();
  }
}

function closed(): VhostError {
  return new VhostError('ERR_VHOST_CLOSED', 'the port is closed');
}

/** Bytes of frame that the whole ring can hold. */
function capacity(slots: SlotArea): number {
  return slots.capacity + (slots.count - 1) * slots.tailCapacity;
}
