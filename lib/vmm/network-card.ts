import { CardFaults } from './card-faults.js';
import type { GuestLimits } from './guest-limits.js';
import type { GuestFault } from './guest-repair.js';
import { checkHostMac } from './options.js';
import type { Doorbells, Interrupts } from './platform.js';
import type { OpenNet } from './plugged-nets.js';
import { VirtioNetDevice } from './virtio-net-device.js';
import type { VirtioNetStatistics } from './virtio-net-device.js';
import { VirtioPciFunction } from './virtio-pci.js';
import type { VirtioPciStatistics } from './virtio-pci.js';
import type { Backend, BackendLink } from '../backend/backend.js';
import { VhostError } from '../errors.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { WorkerThread } from '../sys/worker-thread.js';
import { allOrNothing } from '../undo.js';
import type { UndoList } from '../undo.js';

/** What a card needs of its machine. */
export interface NetworkCardPlace {
  readonly memory: GuestMemory;
  readonly interrupts: Interrupts;
  readonly doorbells: Doorbells;
  readonly limits: GuestLimits;
  /** Each at most ten times a second. */
  readonly onFault: (fault: GuestFault) => void;
  readonly onFailure: (error: unknown) => void;
}

/** What is known of a card. */
export interface NetworkCardStatistics {
  /** The interface's name. */
  readonly name: string;
  /** The guest's address, such as `02:00:00:00:00:02`. */
  readonly mac: string;
  readonly device: VirtioNetStatistics;
  readonly pci: VirtioPciStatistics;
  /** The host's interface; undefined while it is gone, or in another namespace. */
  readonly link: BackendLink | undefined;
}

/**
 * A network card of a machine, while that runs: PCI function and vhost workers. What is told to it the
 * guest hears by an interrupt; what Linux makes of it is said with each. See {@link Machine.card}.
 */
export class NetworkCard {
  /** @internal */
  readonly device: VirtioNetDevice;
  /** @internal */
  readonly pci: VirtioPciFunction;
  /** @internal For tests of what a guest makes of them. */
  readonly faults: CardFaults;
  /** Not its own: it is closed after the card. */
  readonly #backend: Backend;
  readonly #down: UndoList;
  #closed = false;

  /** @internal */
  static open(net: OpenNet, place: NetworkCardPlace): NetworkCard {
    return allOrNothing((undo) => new NetworkCard(undo, net, place));
  }

  private constructor(undo: UndoList, net: OpenNet, place: NetworkCardPlace) {
    this.#down = undo;
    this.#backend = net.backend;
    const { mac, queuePairs, queueSize, mtu, completeOnly = false } = net;
    const { interrupts, doorbells, memory, limits } = place;
    this.device = new VirtioNetDevice({
      ...{ backend: this.#backend, memory, mac, queuePairs, queueSize, completeOnly },
      onFault: limits.limited(place.onFault),
      work: limits,
      ...(mtu !== undefined && { mtu }),
    });
    undo.push(() => {
      this.device.close();
    });
    const onFailure = limits.limited(place.onFailure);
    this.pci = new VirtioPciFunction({ device: this.device, interrupts, doorbells, onFailure });
    undo.push(() => {
      this.pci.close();
    });
    this.faults = new CardFaults(this.device, this.pci);
    undo.push(() => {
      this.faults.close();
    });
  }

  /** The interface's name. */
  get name(): string {
    return this.#backend.name;
  }

  /** The kernel threads that move its frames; undefined where it can't be known which it is. */
  get workers(): readonly (WorkerThread | undefined)[] {
    return this.device.workers;
  }

  /** Whether its cable is plugged in. */
  get linkUp(): boolean {
    return this.device.linkUp;
  }

  /**
   * Plugs the cable in, or out. While it is out nothing goes either way: frames for the guest wait behind
   * the card, as many as its interface keeps.
   *
   * @throws {VhostError} `ERR_VHOST_CLOSED`: the machine has ended.
   */
  setLink(up: boolean): void {
    this.#open().setLink(up);
  }

  /**
   * Asks the guest to say where it is, as when it is behind another switch now: Linux sends gratuitous ARP.
   *
   * @returns Whether it has a driver that can.
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   */
  announce(): boolean {
    return this.#open().announce();
  }

  /**
   * Tells the guest another MTU. Linux looks when its driver begins: after a reboot, or when it is bound
   * anew. The interface on the host stays as it is.
   *
   * @param mtu  Bytes, Ethernet header not counted: 68 to 65535.
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   */
  setMtu(mtu: number): void {
    this.#open().setMtu(mtu);
  }

  /**
   * Gives it another Ethernet address. Linux looks when its driver begins, as for {@link setMtu}.
   *
   * @param mac  Such as `02:00:00:00:00:02`.
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   */
  setMac(mac: string): void {
    this.#open().setMac(checkHostMac(mac));
  }

  /**
   * What is known of it.
   *
   * @throws {VhostError} `ERR_VHOST_CLOSED`; what was counted last {@link Machine.statistics} still has.
   */
  statistics(): NetworkCardStatistics {
    this.#open();
    return {
      name: this.name,
      mac: Buffer.from(this.device.mac)
        .toString('hex')
        .replace(/..(?!$)/g, '$&:'),
      device: this.device.statistics(),
      pci: this.pci.statistics(),
      link: linkOf(this.#backend),
    };
  }

  /** @internal Down: rings, doorbells and interrupts; then workers. Before the backend. */
  close(): void {
    this.#closed = true;
    this.#down.unwind();
  }

  #open(): VirtioNetDevice {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', 'the machine has ended');
    return this.device;
  }
}

/** An interface that was moved to another namespace is there, and can't be asked. */
export function linkOf(backend: Backend): BackendLink | undefined {
  try {
    return backend.lost() ? undefined : backend.link();
  } catch {
    return undefined;
  }
}
