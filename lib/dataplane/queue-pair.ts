import type { BackendQueue } from '../backend/backend.js';
import { VhostError } from '../errors.js';
import type { GuestMemory, Pin } from '../memory/guest-memory.js';
import { EventFd } from '../sys/eventfd.js';
import { VhostNet } from '../sys/vhost-net.js';
import type { VringAddresses } from '../sys/vhost-net.js';
import type { WorkerThread } from '../sys/worker-thread.js';
import { VHOST_NET_VQ_RX, VHOST_NET_VQ_TX } from '../uapi/vhost.js';
import type { UndoList } from '../undo.js';
import { allOrNothing } from '../undo.js';

export type { Backend, BackendAgreement, BackendLink, BackendQueue } from '../backend/backend.js';

/** Where one vring lies, and from where on the device reads it. */
export interface VringPlacement {
  /** Descriptors, a power of 2. */
  readonly size: number;
  readonly addresses: VringAddresses;
  /** Avail index of the first chain that the device has not seen. */
  readonly base: number;
  /** What the worker signals for used buffers; null: nothing. Default: the pair's own eventfd. */
  readonly call?: EventFd | null;
}

/** A ring by its name, as the driver sees it. */
export type RingName = 'receive' | 'transmit';

const RINGS: readonly (readonly [RingName, number])[] = [
  ['receive', VHOST_NET_VQ_RX],
  ['transmit', VHOST_NET_VQ_TX],
];

const INDEX: Readonly<Record<RingName, number>> = {
  receive: VHOST_NET_VQ_RX,
  transmit: VHOST_NET_VQ_TX,
};

/** What a start needs. */
export interface QueuePairStart {
  /** What descriptors may name; pinned for as long as the pair runs. */
  readonly memories: readonly GuestMemory[];
  /** vhost's part of the agreement. */
  readonly features: bigint;
  /** Undefined: this ring stays where it is, on no backend. */
  readonly receive: VringPlacement | undefined;
  readonly transmit: VringPlacement | undefined;
  readonly backend: BackendQueue;
  /** Microseconds for which the worker looks for more work before it sleeps. */
  readonly workerPollMicroseconds: number;
}

/** The three signals of one vring. */
export class VringEvents {
  /** Driver to device: there are new buffers. */
  readonly kick: EventFd;
  /** Device to driver: there are used buffers. */
  readonly call: EventFd;
  /** Device to driver: the ring is broken. */
  readonly err: EventFd;

  constructor(undo: UndoList) {
    const make = () => {
      const eventfd = new EventFd();
      undo.push(() => {
        eventfd.close();
      });
      return eventfd;
    };
    this.kick = make();
    this.call = make();
    this.err = make();
  }

  unwatch(): void {
    this.call.unwatch();
    this.err.unwatch();
  }
}

/**
 * One vhost descriptor with its worker, the eventfds of its two vrings, and their start and stop.
 * Knows nothing of what is in the rings: it is told where they lie.
 *
 * Going down is the order that matters: vrings off their backend, watchers stopped, vhost descriptor
 * closed (this ends the worker), and only then may the backend, the eventfds and the memory go.
 */
export class QueuePair {
  readonly receive: VringEvents;
  readonly transmit: VringEvents;

  readonly #vhost: VhostNet;
  readonly #down: UndoList;
  #running: UndoList | undefined;
  readonly #bound = new Set<number>();
  #pins: readonly Pin[] = [];

  /** Opens the device, makes this process its owner, creates the eventfds. */
  static open(path?: string): QueuePair {
    return allOrNothing((undo) => new QueuePair(undo, path));
  }

  private constructor(undo: UndoList, path?: string) {
    this.#down = undo;
    this.receive = new VringEvents(undo);
    this.transmit = new VringEvents(undo);
    this.#vhost = new VhostNet(path);
    undo.push(() => {
      this.#vhost.close();
    });
    this.#vhost.setOwner();
    undo.push(() => {
      this.receive.unwatch();
      this.transmit.unwatch();
    });
  }

  /** The kernel thread that serves both vrings; undefined when it can't be known which it is. */
  get worker(): WorkerThread | undefined {
    return this.#vhost.worker;
  }

  get running(): boolean {
    return this.#running !== undefined;
  }

  get closed(): boolean {
    return this.#vhost.closed;
  }

  /**
   * Feature bits that vhost offers.
   *
   * @param wanted  Bits that are of use. Those above 63 are asked for only where one of them is.
   */
  offeredFeatures(wanted = 0n): bigint {
    if (!hasBitsAbove63(wanted)) return this.#vhost.getFeatures();
    try {
      return this.#vhost.getFeaturesArray();
    } catch (error) {
      if ((error as VhostError).code !== 'ERR_VHOST_UNSUPPORTED') throw error;
      return this.#vhost.getFeatures();
    }
  }

  /**
   * Hands both vrings to the worker. When a step fails, those before it are taken back and the pair
   * is as if it had not been started.
   *
   * @throws {VhostError} `ERR_VHOST_STATE`: it runs already.
   */
  start(start: QueuePairStart): void {
    if (this.#running) throw new VhostError('ERR_VHOST_STATE', 'the queue pair runs already');
    this.#running = allOrNothing((undo) => {
      undo.push(() => {
        this.#pinAll([]);
        // What the worker said of rings that are stopped is not to be taken for said of those to come.
        this.receive.err.drain();
        this.transmit.err.drain();
      });
      this.#pinAll(start.memories);
      this.#setFeatures(start.features);
      this.#setMemory(start.memories);
      for (const [ring, index] of RINGS) {
        undo.push(() => {
          this.#unbind(index);
        });
        this.#setUp(ring, start[ring]);
      }
      for (const [, index] of RINGS) {
        this.#vhost.setVringBusyloopTimeout(index, start.workerPollMicroseconds);
      }
      for (const [ring, index] of RINGS) if (start[ring]) this.#bind(index, start.backend);
      return undo;
    });
  }

  /**
   * Blocks this thread until the worker calls for a ring, which is drained then, or gives one up.
   *
   * @returns How often the worker has called, and the ring that was given up.
   */
  wait(events: VringEvents, milliseconds: number): { calls: number; broken?: RingName } {
    const { receive, transmit } = this;
    const signalled = EventFd.wait(milliseconds, events.call, receive.err, transmit.err);
    const calls = (signalled & 1) === 0 ? 0 : events.call.drain();
    if ((signalled & 6) === 0) return { calls };
    const broken = (signalled & 2) !== 0 ? 'receive' : 'transmit';
    this[broken].err.drain(); // where nobody mends it, it is told once
    return { calls, broken };
  }

  /**
   * Replaces what descriptors may name, also while the rings run. No descriptor that the device has
   * not given back may name what goes. While they do not run it is for the next start to say it again.
   *
   * @throws {VhostSystemError} `E2BIG`: more regions than the kernel's `max_mem_regions`; then all stays.
   */
  replaceMemory(memories: readonly GuestMemory[]): void {
    this.#setMemory(memories);
    if (this.running) this.#pinAll(memories);
  }

  /**
   * Hands one ring to the worker while the pair runs. When a step fails, the ring is stopped.
   *
   * @throws {VhostError} `ERR_VHOST_STATE`: the pair does not run, or this ring runs already.
   */
  startRing(ring: RingName, placement: VringPlacement, backend: BackendQueue): void {
    if (!this.#running) throw new VhostError('ERR_VHOST_STATE', 'the queue pair does not run');
    if (this.ringRuns(ring)) throw new VhostError('ERR_VHOST_STATE', `${ring} runs already`);
    this.#setUp(ring, placement);
    this.#bind(INDEX[ring], backend);
  }

  /**
   * Takes one ring back; the other goes on. When it returned, the worker does not touch it any more.
   *
   * @returns The avail index from which the device would read on.
   */
  stopRing(ring: RingName): number {
    this.#unbind(INDEX[ring]);
    this[ring].err.drain();
    return this.#vhost.getVringBase(INDEX[ring]);
  }

  /** Whether the worker has this ring. */
  ringRuns(ring: RingName): boolean {
    return this.#bound.has(INDEX[ring]);
  }

  /**
   * What is signalled for used buffers of a ring from now on, also while it runs; undefined = nothing.
   * What the worker completes while there is nothing to signal is not told later.
   */
  setCall(ring: RingName, eventfd: EventFd | undefined): void {
    this.#vhost.setVringCall(INDEX[ring], eventfd);
  }

  /** Takes both vrings back. When it returned, the worker touches neither rings nor buffers. */
  stop(): void {
    const running = this.#running;
    this.#running = undefined;
    running?.unwind();
  }

  /** Avail indices from which the device would read on, see {@link base}. */
  bases(): { receive: number; transmit: number } {
    return { receive: this.base('receive'), transmit: this.base('transmit') };
  }

  /**
   * The avail index from which the device would read on; exact only while stopped. Of a ring that runs
   * it costs a wait until the worker has had its turn with it, or is done with polling.
   */
  base(ring: RingName): number {
    return this.#vhost.getVringBase(INDEX[ring]);
  }

  /** Stops, ends the worker, closes every descriptor. */
  close(): void {
    try {
      this.stop();
    } finally {
      this.#down.unwind();
    }
  }

  /** The new pins are taken before the old ones go. */
  #pinAll(memories: readonly GuestMemory[]): void {
    const before = this.#pins;
    this.#pins = memories.map((memory) => memory.pin('a running queue pair'));
    for (const pin of before) pin.release();
  }

  /** What fits the request that every kernel has goes by it. */
  #setFeatures(features: bigint): void {
    if (hasBitsAbove63(features)) this.#vhost.setFeaturesArray(features);
    else this.#vhost.setFeatures(features);
  }

  #setMemory(memories: readonly GuestMemory[]): void {
    const regions = memories.flatMap((memory) => memory.regions);
    this.#vhost.setMemTable(
      regions.map((region) => ({
        guestAddress: BigInt(region.guestAddress),
        byteLength: BigInt(region.byteLength),
        hostAddress: region.hostAddress,
      })),
    );
  }

  /** No backend yet, so nothing here starts anything or needs taking back. */
  #setUp(ring: RingName, placement: VringPlacement | undefined): void {
    if (!placement) return;
    const index = INDEX[ring];
    const { kick, call, err } = this[ring];
    this.#vhost.setVringNum(index, placement.size);
    this.#vhost.setVringBase(index, placement.base);
    this.#vhost.setVringAddr(index, placement.addresses);
    this.#vhost.setVringErr(index, err);
    this.#vhost.setVringCall(
      index,
      placement.call === undefined ? call : (placement.call ?? undefined),
    );
    this.#vhost.setVringKick(index, kick);
  }

  #bind(index: number, backend: BackendQueue): void {
    this.#vhost.setBackend(index, backend);
    this.#bound.add(index);
  }

  #unbind(index: number): void {
    if (this.#bound.delete(index)) this.#vhost.setBackend(index, undefined);
  }
}

function hasBitsAbove63(features: bigint): boolean {
  return features >> 64n !== 0n;
}
