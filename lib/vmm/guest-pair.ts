import { readFileSync } from 'node:fs';

import { RingIndices, ringAddresses } from './guest-rings.js';
import type { DriverQueuePlace } from './virtio-device.js';
import type { BackendQueue, QueuePair, RingName, VringPlacement } from '../dataplane/queue-pair.js';
import type { RingPlace, RingProgress } from '../dataplane/repair.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { DeviceQueue } from '../ring/device-queue.js';
import type { EventFd } from '../sys/eventfd.js';

/** What a pair is started with. */
export interface GuestPairStart {
  /** vhost's part of the agreement. */
  readonly features: bigint;
  readonly backend: BackendQueue;
  readonly workerPollMicroseconds: number;
}

/** What is known of a ring of a guest. */
export interface GuestRingStatistics {
  /** Notifications of the driver's, wherever they arrived. */
  readonly kicks: number;
  /** Whether the worker has it. */
  readonly running: boolean;
  /** Descriptors; 0 while it is not set up. */
  readonly size: number;
  /** Chains that the driver offered and the worker has not given back. */
  readonly waiting: number;
  /** The used index; runs free over 16 bits. */
  readonly used: number;
}

/** A ring as the driver laid it, and how far it has come while it does not run. */
interface Ring {
  place: DriverQueuePlace;
  base: number;
  indices: RingIndices | undefined;
}

const IDLE: RingProgress = { waiting: 0, used: 0 };

const NAMES: readonly RingName[] = ['receive', 'transmit'];

/**
 * A queue pair of a guest: its rings lie in guest memory where the driver put them, each may be there
 * or not, and each can be stopped and go on where it was.
 */
export class GuestPair {
  readonly pair: QueuePair;
  /** Called when a ring is handed to the worker, which may lie elsewhere than the one before. */
  onPlaced: (ring: RingName) => void = () => undefined;

  readonly #memory: GuestMemory;
  readonly #rings: Record<RingName, Ring | undefined> = { receive: undefined, transmit: undefined };
  /** Rings that no worker gets, and rings whose completions nobody is told of. */
  readonly #held = new Set<RingName>();
  readonly #silent = new Set<RingName>();
  #start: GuestPairStart | undefined;

  /** @param pair  Open, and this object's from now on. */
  constructor(memory: GuestMemory, pair: QueuePair) {
    this.#memory = memory;
    this.pair = pair;
  }

  /** Says where a ring lies. Starts it when the pair runs. @throws {VhostError} It can't lie there. */
  setUp(ring: RingName, place: DriverQueuePlace): void {
    // A driver hears at once what it did wrong, also of a ring that runs only later.
    ringAddresses(this.#memory, place);
    this.#rings[ring] = { place, base: 0, indices: undefined };
    this.#startRing(ring);
  }

  /** Forgets a ring, and stops it. */
  tearDown(ring: RingName): void {
    if (this.pair.ringRuns(ring)) this.pair.stopRing(ring);
    this.#rings[ring] = undefined;
  }

  /** Hands the rings that are set up to the worker; each goes on where it was. */
  start(start: GuestPairStart): void {
    const vring = (ring: RingName) => (this.#isReady(ring) ? this.#vring(ring) : undefined);
    this.pair.start({
      ...start,
      memories: [this.#memory],
      receive: vring('receive'),
      transmit: vring('transmit'),
    });
    this.#start = start;
  }

  /**
   * Takes the rings back, to go on later. What the worker took and never gave back, as when its tap
   * went from under it, is given back now: the driver would wait for it for ever.
   *
   * @returns Frames to be sent that were given back so; whether they were sent nobody knows.
   */
  pause(): number {
    this.#start = undefined;
    if (!this.pair.running) return 0;
    const ran = NAMES.map((name) => this.pair.ringRuns(name));
    this.pair.stop();
    const bases = this.pair.bases();
    const [, transmit = 0] = NAMES.map((name, index) => {
      const ring = this.#rings[name];
      // Of one that did not run vhost knows what it was told of another, or nothing.
      if (!ring || ran[index] !== true) return 0;
      ring.base = bases[name];
      return this.#giveBack(ring, 0);
    });
    return transmit;
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
    this.#tellCall(ring);
  }

  /**
   * Keeps a ring from the worker until {@link release}, whatever its driver does meanwhile; then it goes
   * on where it was.
   */
  hold(ring: RingName): void {
    this.#held.add(ring);
    const known = this.#rings[ring];
    if (known && this.pair.ringRuns(ring)) known.base = this.pair.stopRing(ring);
  }

  /** Ends {@link hold}. @throws when vhost refuses the ring. */
  release(ring: RingName): void {
    this.#held.delete(ring);
    this.#startRing(ring);
  }

  /** Has the worker tell nobody of what it completes, until {@link tell}. */
  silence(ring: RingName): void {
    this.#silent.add(ring);
    this.#tellCall(ring);
  }

  /** Ends {@link silence}. What was completed meanwhile is told now; once too often does no harm. */
  tell(ring: RingName): void {
    this.#silent.delete(ring);
    this.#tellCall(ring);
    this.#rings[ring]?.place.call?.signal();
  }

  /**
   * How far a ring has come; nothing waits in one that does not run.
   *
   * @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: what the driver wrote can't be true.
   */
  progress(ring: RingName): RingProgress {
    const indices = this.pair.ringRuns(ring) ? this.#rings[ring]?.indices : undefined;
    return indices?.progress() ?? IDLE;
  }

  /** Where a ring that runs tells how far it has come. */
  place(ring: RingName): RingPlace | undefined {
    return this.pair.ringRuns(ring) ? this.#rings[ring]?.indices?.place : undefined;
  }

  /**
   * Gives the transmit ring's next chain back unsent, and goes on behind it: the worker tries it again
   * and again.
   *
   * @returns How many were given back.
   */
  skipTransmit(): number {
    const ring = this.#rings.transmit;
    if (!ring || !this.#start || !this.pair.ringRuns('transmit')) return 0;
    ring.base = this.pair.stopRing('transmit');
    const given = this.#giveBack(ring, 1);
    this.pair.startRing('transmit', this.#vring('transmit'), this.#start.backend);
    return given;
  }

  statistics(ring: RingName): GuestRingStatistics {
    const running = this.pair.ringRuns(ring);
    const { waiting, used } = this.#progressOrNone(ring);
    const size = this.#rings[ring]?.place.size ?? 0;
    return { kicks: countOf(this.pair[ring].kick), running, size, waiting, used };
  }

  close(): void {
    this.pair.close();
  }

  /**
   * Gives back chains of a ring that is stopped, untouched: those that the worker took and did not use,
   * and so many that it did not take. A copied chain is used in the order in which it was taken.
   */
  #giveBack(ring: Ring, further: number): number {
    const used = ring.indices?.used ?? ring.base;
    const taken = (ring.base - used) & 0xffff;
    // A driver that writes the used index itself has nothing to be given back.
    if (taken > ring.place.size || taken + further === 0) return 0;
    const memory = this.#memory;
    const options = { ...ring.place, memory, eventIdx: false, indirect: false, nextAvail: used };
    const queue = new DeviceQueue(options);
    let count = 0;
    while (count < taken + further && skipNext(queue)) count++;
    ring.base = (used + count) & 0xffff;
    if (count > 0) ring.place.call?.signal();
    return count;
  }

  #progressOrNone(ring: RingName): RingProgress {
    try {
      return this.progress(ring);
    } catch {
      return IDLE;
    }
  }

  /** Whether the worker may have it. */
  #isReady(ring: RingName): boolean {
    return this.#rings[ring] !== undefined && !this.#held.has(ring);
  }

  /** If the pair runs; one that runs is left alone. */
  #startRing(ring: RingName): void {
    if (!this.#start || !this.#isReady(ring) || this.pair.ringRuns(ring)) return;
    this.pair.startRing(ring, this.#vring(ring), this.#start.backend);
  }

  #tellCall(ring: RingName): void {
    if (this.pair.ringRuns(ring)) this.pair.setCall(ring, this.#callOf(ring));
  }

  #callOf(ring: RingName): EventFd | undefined {
    return this.#silent.has(ring) ? undefined : this.#rings[ring]?.place.call;
  }

  #vring(name: RingName): VringPlacement {
    const ring = this.#rings[name];
    if (!ring) throw new TypeError(`${name} is not set up`);
    const { place, base } = ring;
    const addresses = ringAddresses(this.#memory, place);
    ring.indices = new RingIndices(this.#memory, place);
    this.onPlaced(name);
    return { size: place.size, addresses, base, call: this.#callOf(name) ?? null };
  }
}

/** Whether there was one. What can't be true is left: the worker gives the ring up when it goes on. */
function skipNext(queue: DeviceQueue): boolean {
  try {
    return queue.skip() !== undefined;
  } catch {
    return false;
  }
}

/** The counter of an eventfd, not consumed. A worker never takes it: it is all that there were. */
function countOf({ fd }: EventFd): number {
  const info = readFileSync(`/proc/self/fdinfo/${String(fd)}`, 'utf8');
  return parseInt(/eventfd-count:\s*([0-9a-f]+)/.exec(info)?.[1] ?? '0', 16);
}
