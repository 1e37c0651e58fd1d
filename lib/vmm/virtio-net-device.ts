import { ControlQueue } from './control-queue.js';
import type { ControlQueueStatistics, NetCommands } from './control-queue.js';
import type { GuestRingStatistics } from './guest-pair.js';
import { GuestPairs } from './guest-pairs.js';
import { GuestRepair, faultOf } from './guest-repair.js';
import type { GuestFault } from './guest-repair.js';
import { NetConfig } from './net-config.js';
import { GUEST_OFFLOADS, forBackend, isConsistent, offeredToGuest } from './net-features.js';
import type { DriverQueuePlace, VirtioDevice, VirtioTransport } from './virtio-device.js';
import { headerSize } from '../dataplane/features.js';
import type { Backend } from '../dataplane/queue-pair.js';
import { misuse } from '../errors.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { EventFd } from '../sys/eventfd.js';
import {
  VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
  VIRTIO_NET_F_CTRL_MAC_ADDR,
  VIRTIO_NET_F_CTRL_VQ,
  VIRTIO_NET_F_GUEST_ANNOUNCE,
  VIRTIO_NET_F_MQ,
} from '../uapi/virtio-net.js';
import { VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC, has } from '../uapi/virtio.js';

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
  /** Of the driver that drives now. */
  readonly control: ControlQueueStatistics;
}

const NETWORK = 1;
const ETHERNET = 0x020000;
const CONTROL_QUEUE_SIZE = 64;
/** A vector for each ring, for the control queue and for the configuration: there are 256. */
const MOST_PAIRS = 127;

/** What a driver and we agreed on, while it drives. */
interface Session {
  readonly features: bigint;
  /** `VIRTIO_NET_F_GUEST_*` in force. */
  offloads: bigint;
  control: ControlQueue | undefined;
}

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
  #transport: VirtioTransport | undefined;
  #session: Session | undefined;
  readonly #repair: GuestRepair;
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
    const mtu = options.mtu ?? backend.link().mtu;
    checkMtu(mtu);
    checkMac(options.mac);
    this.#config = new NetConfig(options.mac, queuePairs, mtu, options.speed);
    this.#pairs = new GuestPairs({
      backend,
      memory,
      count: queuePairs,
      workerPollMicroseconds: options.workerPollMicroseconds ?? 0,
      vhostPath: options.vhostPath,
      // The driver put something in it that nobody can serve.
      onBroken: (ring) => {
        this.#repair.mend({ cause: 'kernel', ring, message: `the worker gave ${ring} up` });
      },
    });
    this.#repair = new GuestRepair({
      pairs: this.#pairs,
      needsReset: () => this.#transport?.needsReset(),
      onFault: (fault) => {
        this.#fault(fault);
      },
    });
    const offloads = options.completeOnly === true ? 0n : backend.features;
    this.features = offeredToGuest(this.#pairs.vhostFeatures, offloads, queuePairs);
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
      control: this.#session?.control?.statistics() ?? { commands: 0, refused: 0 },
    };
  }

  /** Sets the link up or down. While it is down the worker has no ring; each goes on where it was. */
  setLink(up: boolean): void {
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
    this.#config.mac = mac;
    this.#transport?.configChanged();
  }

  /** Asks the guest to say where it is, so that switches learn it; if its driver can. */
  announce(): void {
    if (!this.#session || !has(this.#session.features, VIRTIO_NET_F_GUEST_ANNOUNCE)) return;
    this.#config.announce = true;
    this.#transport?.configChanged();
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
    const session = { features, offloads: features & GUEST_OFFLOADS, control: undefined };
    this.#session = session;
    try {
      if (this.#pairs.backendLost()) this.#options.backend.reopen();
      this.#agree(session);
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
    this.#pairs.stop();
  }

  startQueue(queue: DriverQueuePlace): void {
    if (this.#session) this.#setUp(this.#session, queue);
  }

  stopQueue(index: number): void {
    const session = this.#session;
    if (!session || index !== this.#controlIndex(session.features)) {
      this.#pairs.tearDown(index);
      return;
    }
    session.control?.close();
    session.control = undefined;
  }

  setCall(index: number, event: EventFd | undefined): void {
    const session = this.#session;
    if (!session) return;
    if (index !== this.#controlIndex(session.features)) {
      this.#pairs.setCall(index, event);
    } else if (session.control) session.control.call = event;
  }

  doorbell(index: number): EventFd | undefined {
    const features = this.#session?.features ?? this.features;
    if (index === this.#controlIndex(features)) return undefined;
    return this.#pairs.kick(index);
  }

  notify(index: number): void {
    const session = this.#session;
    if (!session?.control || index !== this.#controlIndex(session.features)) return;
    this.#serveControl(session.control);
  }

  /** Stops everything, ends the workers. Before the memory and the backend go. */
  close(): void {
    this.#endSession();
    this.#pairs.close();
  }

  #endSession(): void {
    this.#session?.control?.close();
    this.#session = undefined;
    this.#repair.stop();
  }

  /** Without `VIRTIO_NET_F_MQ` it follows the first pair, whatever there is behind it. */
  #controlIndex(features: bigint): number {
    return has(features, VIRTIO_NET_F_MQ) ? 2 * this.#pairs.count : 2;
  }

  #agree({ features, offloads }: Session): void {
    const { backend } = this.#options;
    const accepted = forBackend((features & ~GUEST_OFFLOADS) | offloads);
    backend.agree({ headerSize: headerSize(features), features: accepted });
  }

  /** Without a control queue agreed on, a driver has nothing to say there. */
  #setUp(session: Session, place: DriverQueuePlace): void {
    if (place.index !== this.#controlIndex(session.features)) {
      this.#pairs.setUp(place);
      return;
    }
    if (!has(session.features, VIRTIO_NET_F_CTRL_VQ)) return;
    const options = {
      ...place,
      memory: this.#options.memory,
      eventIdx: has(session.features, VIRTIO_RING_F_EVENT_IDX),
      indirect: has(session.features, VIRTIO_RING_F_INDIRECT_DESC),
    };
    session.control = new ControlQueue(options, place.call, this.#commands(session));
  }

  #commands(session: Session): NetCommands {
    return {
      setQueuePairs: (count) => this.#setQueuePairs(session, count),
      setMac: (mac) => this.#setGuestMac(session, mac),
      setGuestOffloads: (offloads) => this.#setGuestOffloads(session, offloads),
      acknowledgeAnnounce: () => {
        this.#config.announce = false;
        return has(session.features, VIRTIO_NET_F_GUEST_ANNOUNCE);
      },
    };
  }

  /** A group's address is nobody's. */
  #setGuestMac({ features }: Session, mac: Uint8Array): boolean {
    if (!has(features, VIRTIO_NET_F_CTRL_MAC_ADDR) || ((mac[0] ?? 1) & 1) !== 0) return false;
    this.#config.mac = mac;
    return true;
  }

  #setQueuePairs(session: Session, count: number): boolean {
    const fits = count >= 1 && count <= this.#pairs.count;
    if (!has(session.features, VIRTIO_NET_F_MQ) || !fits) return false;
    return this.#orFault(() => {
      this.#pairs.use(count);
    });
  }

  #setGuestOffloads(session: Session, offloads: bigint): boolean {
    if (!has(session.features, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)) return false;
    const beyond = offloads & ~(session.features & GUEST_OFFLOADS);
    if (beyond !== 0n || !isConsistent(offloads)) return false;
    session.offloads = offloads;
    return this.#orFault(() => {
      this.#agree(session);
    });
  }

  #serveControl(control: ControlQueue): void {
    try {
      // A driver that goes on and on waits for its next turn.
      if (control.serve()) {
        setImmediate(() => {
          this.#goOn(control);
        });
      }
    } catch (error) {
      this.#repair.mend(faultOf(error));
    }
  }

  #goOn(control: ControlQueue): void {
    if (this.#session?.control === control) this.#serveControl(control);
  }

  #orFault(body: () => void): boolean {
    try {
      body();
      return true;
    } catch (error) {
      this.#repair.mend(faultOf(error));
      return false;
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
