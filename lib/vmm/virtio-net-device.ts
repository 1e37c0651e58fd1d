import type { ControlQueueStatistics } from './control-queue.js';
import { GuestFilter } from './guest-filter.js';
import type { GuestRingStatistics } from './guest-pair.js';
import { GuestPairs } from './guest-pairs.js';
import type { GuestWork } from './guest-limits.js';
import { GuestRepair, faultOf } from './guest-repair.js';
import type { GuestFault } from './guest-repair.js';
import { NetConfig } from './net-config.js';
import { isConsistent, offeredToGuest } from './net-features.js';
import { NetSession } from './net-session.js';
import { UNLIMITED } from './turns.js';
import type { DriverQueuePlace, VirtioDevice, VirtioTransport } from './virtio-device.js';
import type { Backend } from '../dataplane/queue-pair.js';
import { misuse } from '../errors.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { EventFd } from '../sys/eventfd.js';
import { VIRTIO_NET_F_GUEST_ANNOUNCE, VIRTIO_NET_F_MQ } from '../uapi/virtio-net.js';
import { has } from '../uapi/virtio.js';

/** What a network device of a guest is made of. */
export interface VirtioNetOptions {
  /** Stays the caller's: closed after the device. */
  readonly backend: Backend;
  /** All of the guest's memory. */
  readonly memory: GuestMemory;
  /** The guest's Ethernet address, 6 bytes. */
  readonly mac: Uint8Array;
  /** The most that a guest may use; each needs a queue of the backend. Default: 1. */
  readonly queuePairs?: number;
  /** Whether what stands behind takes complete frames alone. Default: false. */
  readonly completeOnly?: boolean;
  /** What the guest is told. Default: the interface's. */
  readonly mtu?: number;
  /** The most descriptors of a ring: a power of 2. Default: 1024. */
  readonly queueSize?: number;
  /** Mbit/s that the guest is told. Default: unknown. */
  readonly speed?: number;
  readonly workerPollMicroseconds?: number;
  /** Of the vhost device. */
  readonly vhostPath?: string;
  /** Something kept the rings from going on. */
  readonly onFault?: (fault: GuestFault) => void;
  /** Default: whatever there is to do is done. */
  readonly work?: GuestWork;
}

/** What is known of a device without asking the guest. */
export interface VirtioNetStatistics {
  /** Queue pairs that run now. */
  readonly activePairs: number;
  readonly pairs: readonly Readonly<Record<'receive' | 'transmit', GuestRingStatistics>>[];
  /** Times that something kept the rings from going on. */
  readonly faults: number;
  /** Frames that were given back to the guest unsent, or of which nobody knows. */
  readonly unsent: number;
  /**
   * Whether the backend keeps frames for others away, as the driver wants it. They are counted in its
   * interface's `transmitDropped`.
   */
  readonly filtering: boolean;
  /** Of the driver that drives now. */
  readonly control: ControlQueueStatistics;
}

const NETWORK = 1;
const ETHERNET = 0x020000;
const CONTROL_QUEUE_SIZE = 64;
/** A vector for each ring, for the control queue and for the configuration: there are 256. */
const MOST_PAIRS = 127;

/**
 * A guest's network device, the vhost workers behind it, and nothing between them: from `DRIVER_OK` on
 * the guest's doorbells wake the workers, and their calls are the guest's interrupts. What is left to
 * do here is the control plane.
 *
 * Spec: Virtio 1.2 §5.1 "Network Device".
 */
export class VirtioNetDevice implements VirtioDevice {
  readonly type = NETWORK;
  readonly classCode = ETHERNET;
  readonly configBytes = NetConfig.BYTES;
  readonly features: bigint;
  readonly queueSizes: readonly number[];

  readonly #options: VirtioNetOptions;
  readonly #config: NetConfig;
  readonly #pairs: GuestPairs;
  /** The guest's address as it was told from outside; a driver may change it until the reset. */
  #mac: Uint8Array;
  #transport: VirtioTransport | undefined;
  #session: NetSession | undefined;
  readonly #repair: GuestRepair;
  readonly #filter: GuestFilter;
  #faults = 0;
  #unsent = 0;

  /**
   * Opens a vhost descriptor for each queue pair.
   *
   * @throws {VhostSystemError} Of `/dev/vhost-net`.
   * @throws {RangeError} More queue pairs than the backend has queues.
   */
  constructor(options: VirtioNetOptions) {
    const { backend, memory, queuePairs = 1, queueSize = 1024 } = options;
    const most = backend.setQueueCount ? MOST_PAIRS : backend.queues.length;
    if (!Number.isInteger(queuePairs) || queuePairs < 1 || queuePairs > most) {
      throw misuse.range('queuePairs', `an integer in 1..${String(most)}`, queuePairs);
    }
    this.#options = options;
    const { work = UNLIMITED } = options;
    const mtu = options.mtu ?? backend.link().mtu;
    checkMtu(mtu);
    checkMac(options.mac);
    this.#mac = options.mac;
    this.#config = new NetConfig(options.mac, queuePairs, mtu, options.speed);
    this.#pairs = new GuestPairs({
      backend,
      memory,
      count: queuePairs,
      workerPollMicroseconds: options.workerPollMicroseconds ?? 0,
      vhostPath: options.vhostPath,
      // The driver put something in it that nobody can serve.
      onBroken: (ring) => {
        work.charged(() => {
          this.#repair.mend({ cause: 'kernel', ring, message: `the worker gave ${ring} up` });
        });
      },
    });
    this.#repair = new GuestRepair({
      pairs: this.#pairs,
      work,
      needsReset: () => this.#transport?.needsReset(),
      onFault: (fault) => {
        this.#fault(fault);
      },
    });
    const offloads = options.completeOnly === true ? 0n : backend.features;
    this.#filter = new GuestFilter(backend);
    const { possible } = this.#filter;
    const { unfinished = false } = backend;
    const card = { queuePairs, filters: possible, unfinished };
    this.features = offeredToGuest(this.#pairs.vhostFeatures, offloads, card);
    const rings = new Array<number>(2 * queuePairs).fill(queueSize);
    this.queueSizes = [...rings, CONTROL_QUEUE_SIZE];
  }

  /** The workers behind the queue pairs; undefined where it can't be known which it is. */
  get workers(): GuestPairs['workers'] {
    return this.#pairs.workers;
  }

  get linkUp(): boolean {
    return this.#config.linkUp;
  }

  /** The guest's address, 6 bytes; it may have changed it. */
  get mac(): Uint8Array {
    return this.#config.mac;
  }

  statistics(): VirtioNetStatistics {
    return {
      activePairs: this.#pairs.running,
      pairs: this.#pairs.all.map((pair) => ({
        receive: pair.statistics('receive'),
        transmit: pair.statistics('transmit'),
      })),
      faults: this.#faults,
      unsent: this.#unsent,
      filtering: this.#filter.active,
      control: this.#session?.statistics() ?? { commands: 0, refused: 0 },
    };
  }

  /** Sets the link up or down. While it is down the worker has no ring; each goes on where it was. */
  setLink(up: boolean): void {
    if (typeof up !== 'boolean') throw misuse.type('up', 'a boolean', up);
    if (up === this.#config.linkUp) return;
    this.#config.linkUp = up;
    this.#orFault(() => {
      this.#pairs.pause(!up);
    });
    this.#transport?.configChanged();
  }

  /** Tells the guest another MTU, 68 to 65535; Linux looks when its driver is loaded. */
  setMtu(mtu: number): void {
    checkMtu(mtu);
    this.#config.mtu = mtu;
    this.#transport?.configChanged();
  }

  /** Tells the guest another address, 6 bytes; Linux looks when its driver is loaded. */
  setMac(mac: Uint8Array): void {
    checkMac(mac);
    this.#config.mac = this.#mac = mac;
    if (this.#session) {
      this.#orFault(() => {
        this.#filter.addOwn(mac);
      });
    }
    this.#transport?.configChanged();
  }

  /**
   * Asks the guest to say where it is, so that switches learn it.
   *
   * @returns Whether there is a driver that can.
   */
  announce(): boolean {
    if (!this.#session?.has(VIRTIO_NET_F_GUEST_ANNOUNCE)) return false;
    this.#config.announce = true;
    this.#transport?.configChanged();
    return true;
  }

  /** Keeps a queue from the worker, or hands it back; see {@link CardFaults}. */
  holdQueue(index: number, held: boolean): void {
    this.#orFault(() => {
      this.#pairs.hold(index, held);
    });
  }

  /** Keeps what is completed in a queue from being told, or not; see {@link CardFaults}. */
  silenceQueue(index: number, silent: boolean): void {
    this.#pairs.silence(index, silent);
  }

  attach(transport: VirtioTransport): void {
    this.#transport = transport;
  }

  readConfig(offset: number, size: number): number {
    return this.#config.read(offset, size);
  }

  /** There is nothing to write: a driver of version 1 changes its address by the control queue. */
  writeConfig(): void {
    // Ignored.
  }

  accepts(features: bigint): boolean {
    return isConsistent(features);
  }

  start(features: bigint, queues: readonly DriverQueuePlace[]): void {
    const session = this.#begin(features);
    this.#session = session;
    try {
      if (this.#pairs.backendLost()) this.#options.backend.reopen();
      session.agree();
      this.#filter.setOwn(this.#config.mac);
      for (const queue of queues) this.#setUp(session, queue);
      this.#pairs.start(features);
      this.#repair.start();
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  stop(): void {
    this.#endSession();
    this.#config.announce = false;
    this.#config.mac = this.#mac;
    try {
      this.#pairs.stop();
    } finally {
      this.#filter.reset();
    }
  }

  startQueue(queue: DriverQueuePlace): void {
    if (this.#session) this.#setUp(this.#session, queue);
  }

  stopQueue(index: number): void {
    if (this.#session && index === this.#controlIndex()) this.#session.close();
    else this.#pairs.tearDown(index);
  }

  setCall(index: number, event: EventFd | undefined): void {
    if (!this.#session) return;
    if (index === this.#controlIndex()) this.#session.setControlCall(event);
    else this.#pairs.setCall(index, event);
  }

  doorbell(index: number): EventFd | undefined {
    return index === this.#controlIndex() ? undefined : this.#pairs.kick(index);
  }

  notify(index: number): void {
    if (index === this.#controlIndex()) this.#session?.serve();
  }

  /** Stops everything, ends the workers. Before the memory and the backend go. */
  close(): void {
    this.#endSession();
    this.#pairs.close();
  }

  #begin(features: bigint): NetSession {
    const { backend, memory, work = UNLIMITED } = this.#options;
    return new NetSession(features, {
      ...{
        backend,
        memory,
        work,
        pairs: this.#pairs,
        config: this.#config,
        filter: this.#filter,
      },
      onFailure: (error) => {
        this.#repair.mend(faultOf(error));
      },
    });
  }

  #endSession(): void {
    this.#session?.close();
    this.#session = undefined;
    this.#repair.stop();
  }

  /** Without `VIRTIO_NET_F_MQ` it follows the first pair, whatever there is behind it. */
  #controlIndex(): number {
    const features = this.#session?.features ?? this.features;
    return has(features, VIRTIO_NET_F_MQ) ? 2 * this.#pairs.count : 2;
  }

  #setUp(session: NetSession, place: DriverQueuePlace): void {
    if (place.index === this.#controlIndex()) session.setUpControl(place);
    else this.#pairs.setUp(place);
  }

  #orFault(body: () => void): void {
    try {
      body();
    } catch (error) {
      this.#repair.mend(faultOf(error));
    }
  }

  #fault(fault: GuestFault): void {
    this.#faults++;
    this.#unsent += fault.unsent;
    // Whoever is behind an interface that was made again has to learn where the guest is.
    if (fault.cause === 'backend' && fault.outcome === 'repaired') this.announce();
    this.#options.onFault?.(fault);
  }
}

function checkMtu(mtu: number): void {
  if (Number.isInteger(mtu) && mtu >= 68 && mtu <= 0xffff) return;
  throw misuse.range('mtu', 'an integer in 68..65535', mtu);
}

function checkMac(mac: Uint8Array): void {
  if (mac.length === 6 && ((mac[0] ?? 1) & 1) === 0) return;
  throw misuse.range('mac', 'six bytes, the first of them even', mac);
}
