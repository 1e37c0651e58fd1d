import type { EventEmitter } from 'node:events';

import type { SlotArea } from './arena.js';
import type { Port } from './port.js';
import { ReceiveBatch, Receiver } from './receive.js';
import { newRingCounters } from './statistics.js';
import type { ReceiveStatistics } from './statistics.js';
import type { VringEvents } from '../dataplane/queue-pair.js';
import { VhostError } from '../errors.js';
import type { DriverQueue } from '../ring/driver-queue.js';

/** Frames in one batch: what fits in the nearest cache, and keeps the worker supplied with slots. */
const BATCH = 64;

/** Frames in one turn of the event loop, so that timers and other sockets get theirs. */
const TURN = 256;

/** What a receive path works with. */
export interface ReceivePathOptions {
  readonly port: Port;
  readonly queue: DriverQueue;
  readonly slots: SlotArea;
  readonly events: VringEvents;
  readonly poison: boolean;
}

/** The receive side of a port: when to look, whom to tell, when to sleep. */
export class ReceivePath {
  readonly #port: Port;
  readonly #queue: DriverQueue;
  readonly #receiver: Receiver;
  readonly #events: VringEvents;
  readonly #batch = new ReceiveBatch();
  readonly #counters = newRingCounters();
  #paused = false;
  #closed = false;
  /** A turn is on its way, or running: the next call needs no other. */
  #busy = false;

  constructor(options: ReceivePathOptions) {
    this.#port = options.port;
    this.#queue = options.queue;
    this.#events = options.events;
    this.#receiver = new Receiver(options.queue, options.slots, options.poison, () => {
      this.#publish();
    });
  }

  start(): void {
    this.#publish();
    this.#events.call.watch(() => {
      this.#counters.calls++;
      if (!this.#busy) this.#turn();
    });
    this.#events.err.watch(() => {
      this.#port.emit('error', ringBroken('receive'));
    });
    const anyEvent: EventEmitter = this.#port;
    anyEvent.on('newListener', (event: string | symbol) => {
      if (event === 'receive') this.#schedule();
    });
    if (this.#queue.armCalls()) this.#schedule();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
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
  }

  statistics(): ReceiveStatistics {
    return { ...this.#counters, held: this.#receiver.held };
  }

  get #wanted(): boolean {
    return !this.#closed && !this.#paused && this.#port.listenerCount('receive') > 0;
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
        if (!this.#queue.armCalls()) return false;
        continue;
      }
      done += this.#batch.length;
      this.#deliver();
    }
    return this.#wanted;
  }

  /** False: the ring is broken, which is told as an event. */
  #collect(): boolean {
    try {
      this.#receiver.collect(this.#batch, BATCH);
      return true;
    } catch (error) {
      this.#port.emit('error', error as Error);
      return false;
    }
  }

  #deliver(): void {
    const batch = this.#batch;
    this.#counters.frames += batch.length;
    this.#counters.bytes += batch.byteLength;
    this.#counters.batches++;
    try {
      this.#port.emit('receive', batch);
    } finally {
      // A handler may have closed the port: then there is no ring any more.
      if (!this.#closed) {
        this.#receiver.recycle(batch);
        this.#publish();
      }
    }
  }

  #publish(): void {
    if (this.#closed) return;
    if (this.#queue.publish()) {
      this.#counters.kicks++;
      this.#events.kick.signal();
    } else {
      this.#counters.kicksSuppressed++;
    }
  }
}

/** What the error eventfd of a ring means. */
export function ringBroken(ring: 'receive' | 'transmit'): VhostError {
  return new VhostError('ERR_VHOST_QUEUE_BROKEN', `the kernel gave up on the ${ring} ring`);
}
