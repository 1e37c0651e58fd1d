import type { EventEmitter } from 'node:events';

import type { Loans } from './loans.js';
import type { PortEvents } from './events.js';
import type { VringEvents } from '../dataplane/queue-pair.js';
import { VhostError } from '../errors.js';
import { callListeners } from '../listeners.js';
import type { DriverQueue } from '../ring/driver-queue.js';

/** What waiters work with. */
export interface TransmitWaitersOptions {
  readonly port: EventEmitter<PortEvents>;
  /** Which of the port's queues it is. */
  readonly queueIndex: number;
  readonly queue: DriverQueue;
  readonly loans: Loans;
  /** What the worker calls with. */
  readonly call: VringEvents['call'];
  /** Takes back completed slots; how many. */
  readonly reclaim: () => number;
}

interface Waiter {
  /** Frames completed, counted from the start, of which the last is the one waited for. */
  readonly until: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * Who waits for a transmit ring: for room in it (`drain`), for frames to be completed (`drained()`), or
 * for another port's frames to come back. The worker is asked to call only while somebody does.
 */
export class TransmitWaiters {
  /** How often the worker called. */
  calls = 0;

  readonly #options: TransmitWaitersOptions;
  /** How often {@link nudge} signalled in the worker's place, and nobody has looked since. */
  #nudges = 0;
  #completed = 0;
  #armed = false;
  #needRoom = false;
  #waiters: Waiter[] = [];
  #closed = false;
  /** Why no frame will be completed any more. */
  #givenUp: Error | undefined;

  constructor(options: TransmitWaitersOptions) {
    this.#options = options;
  }

  /** Begins to listen to the worker. */
  start(): void {
    const { call } = this.#options;
    call.watch((count) => {
      this.called(count);
      this.look();
    });
    // Nothing to wait for keeps the process alive; what the caller waits for does.
    call.unref();
    this.#rest();
  }

  /** The eventfd was signalled so often. */
  called(count: number): void {
    this.calls += Math.max(0, count - this.#nudges);
    this.#nudges = 0;
  }

  /** Who waits is told in a turn of its own. */
  nudge(): void {
    this.#nudges++;
    this.#options.call.signal();
  }

  /** So many frames are completed, or lost: nobody waits for them any more. */
  count(frames: number): void {
    this.#completed += frames;
  }

  /** Somebody was refused: `drain` is to come. */
  wantRoom(): void {
    this.#needRoom = true;
    if (!this.#givenUp) this.#arm();
  }

  /** Frames that are out are to come back. */
  wantLoans(): void {
    if (this.#options.loans.pressing && !this.#armed && !this.#givenUp) this.#arm();
  }

  /** A slot became free without the worker's doing; who was refused may wait for this very one. */
  roomMade(): void {
    if (this.#needRoom) this.nudge();
  }

  /** When every frame that is offered now is completed. */
  drained(): Promise<void> {
    if (this.#givenUp) return Promise.reject(this.#givenUp);
    const until = this.#completed + this.#options.queue.inFlight;
    return new Promise((resolve, reject) => {
      this.#waiters.push({ until, resolve, reject });
      // What a handler of `drain` throws is none of who waits for frames.
      callListeners(() => {
        this.look();
      });
    });
  }

  /** Takes back what is completed, and tells who waits. */
  look(): void {
    const { queue, reclaim } = this.#options;
    reclaim();
    if (queue.broken) return;
    this.settle();
    try {
      this.#drain();
    } finally {
      if (!this.#closed) this.#listen(); // also when a handler throws
    }
  }

  /** Tells who waits for `drained()`, of frames that are completed. */
  settle(): void {
    while (this.#waiters[0] !== undefined && this.#waiters[0].until <= this.#completed) {
      this.#waiters.shift()?.resolve();
    }
  }

  /** The frames that somebody may wait for are lost. */
  reject(error: Error): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }

  /** The ring will not go on: there is nothing to wait for. */
  giveUp(error: Error): void {
    this.#givenUp = error;
    this.reject(error);
    this.#rest();
  }

  close(error: Error): void {
    this.#closed = true;
    this.reject(error);
  }

  #drain(): void {
    const { queue, port } = this.#options;
    const { inFlight, free, size } = queue;
    // With nothing on its way, what is free is all there will be: the rest is reserved.
    const enough = inFlight === 0 ? 1 : Math.max(1, size >> 2);
    if (!this.#needRoom || free < enough) return;
    this.#needRoom = false;
    port.emit('drain', this.#options.queueIndex);
  }

  /** Asks for the next call, if there is somebody to tell of it. */
  #listen(): void {
    if (this.#needRoom || this.#waiters.length > 0 || this.#options.loans.pressing) this.#arm();
    else this.#rest();
  }

  /** Asks for a call when three quarters are used (there is room worth waking for), or those waited for. */
  #arm(): void {
    const { queue, call, loans } = this.#options;
    const { inFlight } = queue;
    const early = this.#needRoom || loans.pressing;
    const first = (this.#waiters[0]?.until ?? Infinity) - this.#completed;
    const most = early ? (inFlight * 3) >> 2 : inFlight;
    this.#armed = true;
    call.ref();
    // They may be used already, and then no call comes: signal it to ourselves.
    if (queue.armCalls(Math.max(1, Math.min(first, most)))) this.nudge();
  }

  #rest(): void {
    const { queue, call } = this.#options;
    this.#armed = false;
    queue.disarmCalls();
    call.unref();
  }
}

/** What became of frames that somebody waits for. */
export function lost(frames: number): VhostError {
  return new VhostError('ERR_VHOST_FRAMES_LOST', `a repair lost ${String(frames)} frames`);
}
