import { ControlQueue } from './control-queue.js';
import type { ControlQueueStatistics, NetCommands } from './control-queue.js';
import type { GuestFilter, MacTable } from './guest-filter.js';
import type { GuestWork } from './guest-limits.js';
import type { GuestPairs } from './guest-pairs.js';
import type { NetConfig } from './net-config.js';
import { GUEST_OFFLOADS, forBackend, isConsistent } from './net-features.js';
import { Turns } from './turns.js';
import type { DriverQueuePlace } from './virtio-device.js';
import { headerSize } from '../dataplane/features.js';
import type { Backend } from '../dataplane/queue-pair.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { EventFd } from '../sys/eventfd.js';
import {
  VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
  VIRTIO_NET_F_CTRL_MAC_ADDR,
  VIRTIO_NET_F_CTRL_RX,
  VIRTIO_NET_F_CTRL_VQ,
  VIRTIO_NET_F_GUEST_ANNOUNCE,
  VIRTIO_NET_F_MQ,
} from '../uapi/virtio-net.js';
import { VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC, has } from '../uapi/virtio.js';

/** What a driver's commands are about; all of it is the device's. */
export interface NetSessionOptions {
  readonly backend: Backend;
  readonly memory: GuestMemory;
  readonly pairs: GuestPairs;
  readonly config: NetConfig;
  readonly filter: GuestFilter;
  readonly work: GuestWork;
  /** What the driver wrote can't be true, or what it asked for was refused by the host. */
  readonly onFailure: (error: unknown) => void;
}

/**
 * What a driver and a network device agreed on, from `DRIVER_OK` to the reset, and the commands that it
 * gives meanwhile.
 */
export class NetSession implements NetCommands {
  readonly features: bigint;
  readonly #options: NetSessionOptions;
  /** `VIRTIO_NET_F_GUEST_*` in force. */
  #offloads: bigint;
  #control: ControlQueue | undefined;
  readonly #turns: Turns;

  constructor(features: bigint, options: NetSessionOptions) {
    this.features = features;
    this.#offloads = features & GUEST_OFFLOADS;
    this.#options = options;
    this.#turns = new Turns(options.work);
  }

  /** Of the driver's commands. */
  statistics(): ControlQueueStatistics {
    return this.#control?.statistics() ?? { commands: 0, refused: 0 };
  }

  /** Whether a feature was agreed on. */
  has(feature: number): boolean {
    return has(this.features, feature);
  }

  /** Tells the backend what was agreed on. @throws {VhostSystemError} It refuses. */
  agree(): void {
    const { backend } = this.#options;
    const accepted = forBackend((this.features & ~GUEST_OFFLOADS) | this.#offloads);
    backend.agree({ headerSize: headerSize(this.features), features: accepted });
  }

  /**
   * Where the control queue lies. Without one agreed on, a driver has nothing to say there.
   *
   * @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: it can't lie there.
   */
  setUpControl(place: DriverQueuePlace): void {
    if (!this.has(VIRTIO_NET_F_CTRL_VQ)) return;
    const options = {
      ...place,
      memory: this.#options.memory,
      eventIdx: this.has(VIRTIO_RING_F_EVENT_IDX),
      indirect: this.has(VIRTIO_RING_F_INDIRECT_DESC),
    };
    this.#control = new ControlQueue(options, place.call, this);
  }

  /** What is signalled for an answer from now on. */
  setControlCall(event: EventFd | undefined): void {
    if (this.#control) this.#control.call = event;
  }

  /** Answers what the driver asks. */
  serve(): void {
    const control = this.#control;
    if (control) this.#turns.begin(() => this.#serve(control));
  }

  /** From now on nothing of the driver's memory is touched, and nothing is done for it. */
  close(): void {
    this.#turns.stop();
    this.#control?.close();
    this.#control = undefined;
  }

  setQueuePairs(count: number): boolean {
    const { pairs } = this.#options;
    const fits = count >= 1 && count <= pairs.count;
    if (!this.has(VIRTIO_NET_F_MQ) || !fits) return false;
    return this.#attempt(() => {
      pairs.use(count);
    });
  }

  /** A group's address is nobody's. */
  setMac(mac: Uint8Array): boolean {
    if (!this.has(VIRTIO_NET_F_CTRL_MAC_ADDR) || ((mac[0] ?? 1) & 1) !== 0) return false;
    const { config, filter } = this.#options;
    config.mac = mac;
    return this.#attempt(() => {
      filter.setOwn(mac);
    });
  }

  setGuestOffloads(offloads: bigint): boolean {
    if (!this.has(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)) return false;
    const beyond = offloads & ~(this.features & GUEST_OFFLOADS);
    if (beyond !== 0n || !isConsistent(offloads)) return false;
    this.#offloads = offloads;
    return this.#attempt(() => {
      this.agree();
    });
  }

  setPromiscuous(on: boolean): boolean {
    return this.#filter((filter) => {
      filter.setPromiscuous(on);
    });
  }

  setAllMulticast(on: boolean): boolean {
    return this.#filter((filter) => {
      filter.setAllMulticast(on);
    });
  }

  setMacTable(table: MacTable): boolean {
    return this.#filter((filter) => {
      filter.setTable(table);
    });
  }

  acknowledgeAnnounce(): boolean {
    this.#options.config.announce = false;
    return this.has(VIRTIO_NET_F_GUEST_ANNOUNCE);
  }

  #filter(change: (filter: GuestFilter) => void): boolean {
    if (!this.has(VIRTIO_NET_F_CTRL_RX)) return false;
    return this.#attempt(() => {
      change(this.#options.filter);
    });
  }

  /** Whether there may be more. */
  #serve(control: ControlQueue): boolean {
    try {
      return control.serve();
    } catch (error) {
      this.#options.onFailure(error);
      return false;
    }
  }

  #attempt(body: () => void): boolean {
    try {
      body();
      return true;
    } catch (error) {
      this.#options.onFailure(error);
      return false;
    }
  }
}
