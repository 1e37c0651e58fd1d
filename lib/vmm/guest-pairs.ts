import { GuestPair } from './guest-pair.js';
import type { DriverQueuePlace } from './virtio-device.js';
import { vhostPart } from '../dataplane/features.js';
import { QueuePair } from '../dataplane/queue-pair.js';
import type { Backend, BackendQueue, RingName } from '../dataplane/queue-pair.js';
import { misuse } from '../errors.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { EventFd } from '../sys/eventfd.js';
import { UndoList, allOrNothing } from '../undo.js';

/** What all queue pairs of a device have in common. */
export interface GuestPairsOptions {
  readonly backend: Backend;
  readonly memory: GuestMemory;
  /** The most that a guest may use; each has a queue of the backend. */
  readonly count: number;
  readonly workerPollMicroseconds: number;
  /** Of the vhost device. */
  readonly vhostPath?: string | undefined;
  /** A worker gave a ring up. */
  readonly onBroken: (ring: RingName) => void;
}

/** Queues alternate. Virtio 1.2 §5.1.2 "Virtqueues". */
function ringOf(index: number): RingName {
  return index % 2 === 0 ? 'receive' : 'transmit';
}

/**
 * The queue pairs of a guest's network device, by the indices of its queues. Those that the driver
 * uses run while it is driving and the link is up; the others have no worker's attention.
 */
export class GuestPairs {
  /** What vhost offers. */
  readonly vhostFeatures: bigint;

  readonly #options: GuestPairsOptions;
  readonly #pairs: readonly GuestPair[];
  readonly #down: UndoList;
  /** What driver and device agreed on; undefined while nobody drives. */
  #features: bigint | undefined;
  #active = 1;
  #paused = false;
  /** Frames given back at a repair that is not finished yet. */
  #unknown = 0;

  /**
   * Opens a vhost descriptor for each.
   *
   * @throws {VhostSystemError} Of `/dev/vhost-net`.
   */
  constructor(options: GuestPairsOptions) {
    this.#options = options;
    const pairs: GuestPair[] = [];
    this.#down = allOrNothing((undo) => {
      for (let i = 0; i < options.count; i++) pairs.push(this.#open(undo));
      return undo;
    });
    this.#pairs = pairs;
    this.vhostFeatures = pairs[0]?.pair.offeredFeatures() ?? 0n;
  }

  /** Every pair, also those that are not in use. */
  get all(): readonly GuestPair[] {
    return this.#pairs;
  }

  get count(): number {
    return this.#pairs.length;
  }

  /** Pairs that run now. */
  get running(): number {
    return this.#pairs.filter(({ pair }) => pair.running).length;
  }

  /** The workers behind them; undefined where it can't be known which it is. */
  get workers(): readonly GuestPair['pair']['worker'][] {
    return this.#pairs.map(({ pair }) => pair.worker);
  }

  /** What wakes the worker for a queue; undefined: there is no such queue. */
  kick(index: number): EventFd | undefined {
    return this.#at(index)?.pair[ringOf(index)].kick;
  }

  /**
   * Where a queue lies. Starts it when its pair runs.
   *
   * @throws {VhostError} It can't lie there.
   */
  setUp(place: DriverQueuePlace): void {
    this.#at(place.index)?.setUp(ringOf(place.index), place);
  }

  /** Stops a queue, and forgets where it lies. */
  tearDown(index: number): void {
    this.#at(index)?.tearDown(ringOf(index));
  }

  /** What is signalled for used buffers of a queue from now on. */
  setCall(index: number, event: EventFd | undefined): void {
    this.#at(index)?.setCall(ringOf(index), event);
  }

  /** Keeps a queue from the worker, or hands it back: {@link GuestPair.hold}. */
  hold(index: number, held: boolean): void {
    const pair = this.#at(index);
    if (held) pair?.hold(ringOf(index));
    else pair?.release(ringOf(index));
  }

  /** Keeps what the worker completes in a queue from being told, or not: {@link GuestPair.silence}. */
  silence(index: number, silent: boolean): void {
    const pair = this.#at(index);
    if (silent) pair?.silence(ringOf(index));
    else pair?.tell(ringOf(index));
  }

  /** From now on the first pair runs. @throws when it can't; the caller stops everything then. */
  start(features: bigint): void {
    this.#features = features;
    this.use(1);
  }

  /**
   * How many of the pairs the driver uses. Those beyond are stopped, and go on where they were; their
   * queues are detached, so that no flow is steered to them.
   *
   * @throws when the backend or vhost refuses.
   */
  use(count: number): void {
    for (const pair of this.#pairs.slice(count)) pair.pause();
    this.#options.backend.setQueueCount?.(count);
    this.#active = count;
    this.#resume();
  }

  /** The backend's first queue. */
  get backendQueue(): BackendQueue | undefined {
    return this.#options.backend.queues[0];
  }

  /** Whether the interface is gone. */
  backendLost(): boolean {
    return this.#options.backend.lost();
  }

  /**
   * Makes the interface again; every ring goes on where it was.
   *
   * @returns Frames of which nobody knows whether they were sent; the guest was given them back.
   * @throws when it can't be made.
   */
  reopenBackend(): number {
    for (const pair of this.#pairs) this.#unknown += pair.pause();
    this.#options.backend.reopen();
    this.#resume();
    const unknown = this.#unknown;
    this.#unknown = 0;
    return unknown;
  }

  /** Takes every ring back, or hands those in use out again; each goes on where it was. */
  pause(paused: boolean): void {
    this.#paused = paused;
    if (!paused) this.#resume();
    else for (const pair of this.#pairs) pair.pause();
  }

  /** Takes every ring back, and forgets them. Each is tried, also when one fails. */
  stop(): void {
    this.#features = undefined;
    const all = new UndoList();
    for (const pair of this.#pairs) {
      all.push(() => {
        pair.stop();
      });
    }
    all.unwind();
  }

  /** Ends the workers. Before memory and backend go. */
  close(): void {
    this.#down.unwind();
  }

  #open(undo: UndoList): GuestPair {
    const guest = new GuestPair(this.#options.memory, QueuePair.open(this.#options.vhostPath));
    undo.push(() => {
      guest.close();
    });
    for (const ring of ['receive', 'transmit'] as const) {
      const { err } = guest.pair[ring];
      err.watch(() => {
        if (this.#features !== undefined) this.#options.onBroken(ring);
      });
      err.unref();
    }
    return guest;
  }

  #at(index: number): GuestPair | undefined {
    return this.#pairs[index >> 1];
  }

  #resume(): void {
    const features = this.#features;
    if (features === undefined || this.#paused) return;
    this.#pairs.slice(0, this.#active).forEach((guest, index) => {
      if (!guest.pair.running) this.#startPair(guest, index, features);
    });
  }

  #startPair(guest: GuestPair, index: number, features: bigint): void {
    const { backend, workerPollMicroseconds } = this.#options;
    const queue = backend.queues[index];
    if (!queue) throw misuse.range('queuePairs', 'no more than the backend has queues', index);
    guest.start({
      features: vhostPart(features, this.vhostFeatures, backend.headerless),
      backend: queue,
      workerPollMicroseconds,
    });
  }
}
