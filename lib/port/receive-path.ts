import type { EventEmitter } from 'node:events';

import type { SlotArea } from './arena.js';
import { Coalescing } from './coalescing.js';
import { atEndOfTurn } from './end-of-turn.js';
import type { PortEvents } from './events.js';
import type { Frame } from './frame.js';
import { ReceiveBatch, Receiver } from './receive.js';
import { newRingCounters } from './statistics.js';
import type { ReceiveStatistics } from './statistics.js';
import type { VringEvents } from '../dataplane/queue-pair.js';
import type { Fault } from '../dataplane/repair.js';
import { VhostError } from '../errors.js';
import { callListeners } from '../listeners.js';
import type { DriverQueue } from '../ring/driver-queue.js';

/** Frames in one batch: what fits in the nearest cache, and keeps the worker supplied with slots. */
const BATCH = 64;

/** Frames in one turn of the event loop, so that timers and other sockets get theirs. */
const TURN = 256;

/** What a receive path works with. */
export interface ReceivePathOptions {
  readonly port: EventEmitter<PortEvents>;
  /** Which of the port's queues it is. Default: 0. */
  readonly queueIndex?: number;
  readonly queue: DriverQueue;
  readonly slots: SlotArea;
  readonly events: VringEvents;
  readonly poison: boolean;
  /** How long to look for more before asking to be called. */
  readonly pollMicroseconds: number;
  /** For how many frames a call may wait. */
  readonly coalesceFrames: number;
  readonly onFault: (fault: Fault) => void;
  /** Writes the header of a frame anew, where what came says nothing, or not all as it is. */
  readonly describe?: ((frame: Frame) => void) | undefined;
}

/** The receive side of a port: when to look, whom to tell, when to sleep. */
export class ReceivePath {
  readonly #port: EventEmitter<PortEvents>;
  readonly #queue: DriverQueue;
  readonly #receiver: Receiver;
  readonly #events: VringEvents;
  readonly #batch: ReceiveBatch;
  readonly #coalescing: Coalescing;
  readonly #counters = newRingCounters();
  readonly #onFault: (fault: Fault) => void;
  readonly #describe: ((frame: Frame) => void) | undefined;
  readonly #pollMilliseconds: number;
  /** Until when to look for more without being called. */
  #pollUntil = 0;
  #publishScheduled = false;
  readonly #publishNow = () => {
    this.#publishScheduled = false;
    this.#publish();
  };
  readonly #onNewListener = (event: string | symbol): void => {
    if (event === 'receive') this.#schedule();
  };
  #lost = 0;
  #paused = false;
  /** Listeners that can't take more for now, whoever paused or resumed the port. */
  readonly #full = new Set<object>();
  #closed = false;
  /** A handler has the batch, and may be waiting in a blocking call. */
  #delivering = false;
  /** A turn is on its way, or running: the next call needs no other. */
  #busy = false;

  constructor(options: ReceivePathOptions) {
    this.#port = options.port;
    this.#batch = new ReceiveBatch(options.queueIndex ?? 0);
    this.#queue = options.queue;
    this.#events = options.events;
    this.#onFault = options.onFault;
    this.#describe = options.describe;
    this.#pollMilliseconds = options.pollMicroseconds / 1000;
    // Without an event index a call can only be wanted or not.
    const most = options.queue.eventIdx ? options.coalesceFrames : 1;
    this.#coalescing = new Coalescing(most, () => {
      if (!this.#busy) this.#turn();
    });
    this.#receiver = new Receiver(options.queue, options.slots, options.poison, () => {
      this.#publishLater();
    });
  }

  /** Begins to listen to the worker. */
  start(): void {
    this.#publish();
    this.#events.call.watch((count) => {
      this.called(count);
      this.#coalescing.called();
      if (!this.#busy) this.#turn();
    });
    this.#events.err.watch(() => {
      this.#onFault(ringBroken('receive'));
    });
    this.listen();
    this.resumed();
  }

  /** The worker has called so often. */
  called(count: number): void {
    this.#counters.calls += count;
  }

  /** Hears of handlers to come; again after all listeners were removed, this one with them. */
  listen(): void {
    const anyEvent: EventEmitter = this.#port;
    anyEvent.off('newListener', this.#onNewListener).on('newListener', this.#onNewListener);
  }

  /**
   * The device has let go of the ring. What it had written is delivered, if anybody listens; a frame
   * that it had not is still the kernel's. Within a handler nobody can be handed anything: then it is
   * lost, and what the handler has stays its own until it returns.
   *
   * @param base  The avail index that the device would have read next.
   * @param anew  Whether the ring must begin anew; also when the device kept some of it.
   * @returns The avail index from which the device is to read.
   */
  recover(base: number, anew: boolean): number {
    if (!anew && this.#receiver.complete(base)) return base;
    if (this.#delivering) this.#dropWaiting();
    else while (this.#batch.length > 0 || this.#salvage()) this.#deliverOrDrop();
    if (this.#closed) return 0;
    this.#receiver.restart(this.#batch);
    this.#publish();
    return 0;
  }

  /** The device has let go of the ring for good. What it had written is delivered, if anybody listens. */
  finish(): void {
    while (this.#batch.length > 0 || this.#salvage()) this.#deliverOrDrop();
  }

  /** The ring goes on, at the start or after a repair: asks for a call. */
  resumed(): void {
    if (this.#queue.armCalls()) this.#schedule();
  }

  /** @throws {VhostError} `ERR_VHOST_STATE`: frames can't be handed to anybody now. */
  checkBlocking(): void {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', 'the port is closed');
    if (this.#batch.length > 0) {
      throw new VhostError('ERR_VHOST_STATE', 'a batch is being handled already');
    }
    if (!this.#wanted) {
      throw new VhostError(
        'ERR_VHOST_STATE',
        "there is no 'receive' handler, or the port is paused",
      );
    }
  }

  /** One batch for the handlers; how many frames. 0: none are there, and a call was asked for. */
  takeBatch(): number {
    this.#publish(); // what was released since the last one, and no turn ended
    do {
      if (!this.#wanted || !this.#collect()) return 0;
      const { length } = this.#batch;
      if (length > 0) {
        this.#schedule(); // no call was asked for: the event loop, if it turns, is to look by itself
        this.#deliver();
        return length;
      }
    } while (this.#queue.armCalls());
    return 0;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  /** Nothing for anybody until this one has room again. */
  setFull(listener: object): void {
    this.#full.add(listener);
  }

  /** It has. */
  clearFull(listener: object): void {
    if (this.#full.delete(listener)) this.#schedule();
  }

  ref(): void {
    this.#events.call.ref();
    this.#events.err.ref();
  }

  unref(): void {
    this.#events.call.unref();
    this.#events.err.unref();
  }

  close(): void {
    this.#closed = true;
    this.#coalescing.stop();
  }

  statistics(): ReceiveStatistics {
    return { ...this.#counters, lost: this.#lost, held: this.#receiver.held };
  }

  get #wanted(): boolean {
    if (this.#closed || this.#paused || this.#full.size > 0) return false;
    return this.#port.listenerCount('receive') > 0;
  }

  #schedule(): void {
    if (this.#busy || this.#closed) return;
    this.#busy = true;
    setImmediate(() => {
      this.#turn();
    });
  }

  /** Batches until there is nothing left, or until others must have their turn. */
  #turn(): void {
    this.#busy = true;
    let again = true; // also when a handler throws: the frames behind it are not to be forgotten
    try {
      again = this.#work();
    } finally {
      this.#busy = false;
      if (again) this.#schedule();
    }
  }

  /** Whether there may be more. */
  #work(): boolean {
    let done = 0;
    while (this.#wanted && done < TURN) {
      if (!this.#collect()) return false;
      if (this.#batch.length === 0) {
        // Nothing is left: ask for a call, unless something came while we asked.
        if (this.#pollMilliseconds > 0 && performance.now() < this.#pollUntil) return true;
        if (!this.#sleep()) return false;
        continue;
      }
      done += this.#batch.length;
      this.#coalescing.count(this.#batch.length);
      if (this.#pollMilliseconds > 0) this.#pollUntil = performance.now() + this.#pollMilliseconds;
      this.#deliver();
    }
    return this.#wanted;
  }

  /** Asks for a call; true when there is something to be looked at already. */
  #sleep(): boolean {
    const after = this.#coalescing.next();
    if (this.#queue.armCalls(after)) return true;
    this.#coalescing.wait(after);
    return false;
  }

  /** False: the ring is broken. */
  #collect(): boolean {
    try {
      this.#receiver.collect(this.#batch, BATCH);
      return true;
    } catch (error) {
      this.#onFault({ cause: 'corrupt', ring: 'receive', message: (error as Error).message });
      return false;
    } finally {
      this.#describeAll(); // also what came before the nonsense
    }
  }

  #describeAll(): void {
    if (this.#describe) for (const frame of this.#batch) this.#describe(frame);
  }

  /** Whether there is something that was written before the device let go. */
  #salvage(): boolean {
    if (this.#closed || this.#queue.broken) return false;
    try {
      this.#receiver.collect(this.#batch, BATCH);
    } catch {
      // What came before the nonsense is in the batch.
    }
    this.#describeAll();
    return this.#batch.length > 0;
  }

  #dropWaiting(): void {
    const waiting = new ReceiveBatch(this.#batch.queue);
    try {
      this.#receiver.collect(waiting, this.#queue.size);
    } catch {
      // What came before the nonsense counts.
    }
    this.#lost += waiting.length;
  }

  /** What a handler throws is thrown behind the repair that this belongs to. */
  #deliverOrDrop(): void {
    if (!this.#wanted) {
      this.#lost += this.#batch.length;
      this.#receiver.recycle(this.#batch);
      return;
    }
    callListeners(() => {
      this.#deliver();
    });
  }

  #deliver(): void {
    const batch = this.#batch;
    this.#counters.frames += batch.length;
    this.#counters.bytes += batch.byteLength;
    this.#counters.batches++;
    this.#delivering = true;
    try {
      this.#port.emit('receive', batch);
    } finally {
      this.#delivering = false;
      // A handler may have closed the port: then there is no ring any more.
      if (!this.#closed) {
        this.#receiver.recycle(batch);
        this.#publish();
      }
    }
  }

  /** Frames come back many at a time. */
  #publishLater(): void {
    if (this.#publishScheduled) return;
    this.#publishScheduled = true;
    atEndOfTurn(this.#publishNow);
  }

  #publish(): void {
    if (this.#closed || this.#queue.unpublished === 0) return;
    if (this.#queue.publish()) {
      this.#counters.kicks++;
      this.#events.kick.signal();
    } else {
      this.#counters.kicksSuppressed++;
    }
  }
}

/** What the error eventfd of a ring means. */
export function ringBroken(ring: 'receive' | 'transmit'): Fault {
  return { cause: 'kernel', ring, message: `the kernel gave up on the ${ring} ring` };
}
