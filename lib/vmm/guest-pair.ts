import { ringAddresses } from './guest-rings.js';
import type { DriverQueuePlace } from './virtio-device.js';
import { QueuePair } from '../dataplane/queue-pair.js';
import type { BackendQueue, RingName, VringPlacement } from '../dataplane/queue-pair.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { EventFd } from '../sys/eventfd.js';

/** What a pair is started with. */
export interface GuestPairStart {
  /** vhost's part of the agreement. */
  readonly features: bigint;
  readonly backend: BackendQueue;
  readonly workerPollMicroseconds: number;
}

/** A ring as the driver laid it, and how far it has come while it does not run. */
interface Ring {
  place: DriverQueuePlace;
  base: number;
}

const NAMES: readonly RingName[] = ['receive', 'transmit'];

/**
 * A queue pair of a guest: its rings lie in guest memory where the driver put them, each may be there
 * or not, and each can be stopped and go on where it was.
 */
export class GuestPair {
  readonly pair: QueuePair;

  readonly #memory: GuestMemory;
  readonly #rings: Record<RingName, Ring | undefined> = { receive: undefined, transmit: undefined };
  #start: GuestPairStart | undefined;

  /** @param path  Of the vhost device. */
  constructor(memory: GuestMemory, path?: string) {
    this.#memory = memory;
    this.pair = QueuePair.open(path);
  }

  /** Says where a ring lies. Starts it when the pair runs. @throws {VhostError} It can't lie there. */
  setUp(ring: RingName, place: DriverQueuePlace): void {
    this.#rings[ring] = { place, base: 0 };
    if (this.#start) this.pair.startRing(ring, this.#vring(ring), this.#start.backend);
  }

  /** Forgets a ring, and stops it. */
  tearDown(ring: RingName): void {
    if (this.pair.ringRuns(ring)) this.pair.stopRing(ring);
    this.#rings[ring] = undefined;
  }

  /** Hands the rings that are set up to the worker; each goes on where it was. */
  start(start: GuestPairStart): void {
    const vring = (ring: RingName) => (this.#rings[ring] ? this.#vring(ring) : undefined);
    this.pair.start({
      ...start,
      memories: [this.#memory],
      receive: vring('receive'),
      transmit: vring('transmit'),
    });
    this.#start = start;
  }

  /** Takes the rings back, to go on later. */
  pause(): void {
    this.#start = undefined;
    if (!this.pair.running) return;
    this.pair.stop();
    const bases = this.pair.bases();
    for (const name of NAMES) {
      const ring = this.#rings[name];
      if (ring) ring.base = bases[name];
    }
  }

  /** Takes the rings back, and forgets them. */
  stop(): void {
    this.#start = undefined;
    this.#rings.receive = this.#rings.transmit = undefined;
    this.pair.stop();
  }

  /** What is signalled for used buffers of a ring from now on. */
  setCall(ring: RingName, event: EventFd | undefined): void {
    const known = this.#rings[ring];
    if (!known) return;
    known.place = { ...known.place, call: event };
    if (this.pair.ringRuns(ring)) this.pair.setCall(ring, event);
  }

  close(): void {
    this.pair.close();
  }

  #vring(name: RingName): VringPlacement {
    const ring = this.#rings[name];
    if (!ring) throw new TypeError(`${name} is not set up`);
    const { place, base } = ring;
    const addresses = ringAddresses(this.#memory, place);
    return { size: place.size, addresses, base, call: place.call ?? null };
  }
}
