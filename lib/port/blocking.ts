import { isMainThread } from 'node:worker_threads';

import type { Arena } from './arena.js';
import type { ReceivePath } from './receive-path.js';
import { ringBroken } from './receive-path.js';
import type { Recovery } from './recovery.js';
import type { TransmitPath } from './transmit-path.js';
import type { QueuePair, VringEvents } from '../dataplane/queue-pair.js';
import { VhostError, misuse } from '../errors.js';
import type { NetHeader } from '../ring/net-header.js';

/** Milliseconds of one wait at the most: between two, a Worker can be terminated. */
const SLICE = 200;

/** The same while slots are lent without which nothing may be received: their return wakes nobody. */
const LOAN_SLICE = 1;

/** Who counts the worker's calls. */
interface Called {
  called(count: number): void;
}

/** What blocking calls work with. */
export interface BlockingOptions {
  readonly pair: QueuePair;
  readonly arena: Arena;
  readonly receive: ReceivePath;
  readonly transmit: TransmitPath;
  readonly recovery: Recovery;
  /** Whether the main thread may be blocked. */
  readonly onMainThread: boolean;
}

/**
 * A port without an event loop: each call waits in the kernel, and does meanwhile what the loop would
 * do for the port. Handlers run within the call.
 */
export class Blocking {
  readonly #options: BlockingOptions;

  constructor(options: BlockingOptions) {
    this.#options = options;
  }

  /** Waits for frames and hands a batch to the handlers; how many there were, 0 when the time is over. */
  receive(timeoutMs: number): number {
    this.#check('receiveBlocking', timeoutMs);
    const { pair, receive } = this.#options;
    receive.checkBlocking();
    let taken = 0;
    this.#until(timeoutMs, pair.receive, receive, () => {
      this.#hasten();
      return (taken = receive.takeBatch()) > 0;
    });
    return taken;
  }

  /** What is lent comes back where somebody looks: there is no loop here in which a call would be heard. */
  #hasten(): void {
    const { arena, transmit } = this.#options;
    if (arena.receiveSlots.out === 0) return;
    transmit.hasten();
    arena.hasten();
  }

  /** No longer than until the watchdog is to look. */
  get #slice(): number {
    const { arena, recovery } = this.#options;
    return Math.min(arena.receiveSlots.pressing ? LOAN_SLICE : SLICE, recovery.untilLook);
  }

  /** Waits for room. False: the time is over, nothing was taken. */
  send(bytes: Uint8Array, timeoutMs: number, header: Readonly<NetHeader> | undefined): boolean {
    this.#check('sendBlocking', timeoutMs);
    const { pair, transmit } = this.#options;
    return this.#untilTransmit(timeoutMs, pair.transmit, () => transmit.send(bytes, header));
  }

  /** Waits until every frame is completed. False: the time is over. */
  drained(timeoutMs: number): boolean {
    this.#check('drainedBlocking', timeoutMs);
    const { pair, transmit } = this.#options;
    const { lost } = transmit.statistics();
    return this.#untilTransmit(timeoutMs, pair.transmit, () => {
      // Asks for a call; it is settled when the loop turns again, and tells nobody.
      transmit.drained().catch(() => undefined);
      const now = transmit.statistics();
      if (now.lost === lost) return now.inFlight === 0;
      throw new VhostError(
        'ERR_VHOST_FRAMES_LOST',
        `a repair lost ${String(now.lost - lost)} frames`,
      );
    });
  }

  #untilTransmit(timeoutMs: number, events: VringEvents, done: () => boolean): boolean {
    const { waiters } = this.#options.transmit;
    try {
      return this.#until(timeoutMs, events, waiters, done);
    } finally {
      // The calls that were taken here are news to whoever waits for `drain` in the event loop.
      if (!events.call.closed) waiters.nudge();
    }
  }

  /** Tries and waits in turns. A repair may come between, and may end the port. */
  #until(timeoutMs: number, events: VringEvents, ring: Called, done: () => boolean): boolean {
    const { pair, transmit, recovery } = this.#options;
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      if (done()) return true;
      const failure = recovery.failure(events === pair.receive ? 'receive' : 'transmit');
      if (failure) throw failure; // nobody will do anything for this ring any more
      if (!pair.closed) transmit.flush(); // what the end of a turn would do
      const left = deadline - performance.now();
      // In a handler that a repair calls there is no worker to wait for.
      if (left <= 0 || recovery.repairing) return false;
      const { calls, broken } = pair.wait(events, Math.ceil(Math.min(left, this.#slice)));
      ring.called(calls);
      if (broken) recovery.report(ringBroken(broken));
      recovery.attend();
      if (pair.closed) throw new VhostError('ERR_VHOST_CLOSED', 'the port is closed');
    }
  }

  #check(method: string, timeoutMs: number): void {
    if (typeof timeoutMs !== 'number') throw misuse.type('timeoutMs', 'a number', timeoutMs);
    if (!(timeoutMs >= 0)) throw misuse.range('timeoutMs', 'at least 0', timeoutMs);
    if (!isMainThread || this.#options.onMainThread) return;
    throw new VhostError(
      'ERR_VHOST_STATE',
      `${method}() stops the event loop, and here the whole program with it: call it in a Worker, ` +
        'or open the port with blockMainThread: true',
    );
  }
}
