import type { GuestFault } from './guest-repair.js';
import type { Doorbells, Interrupts } from './platform.js';
import type { OpenNet } from './plugged-nets.js';
import { VirtioNetDevice } from './virtio-net-device.js';
import type { VirtioNetStatistics } from './virtio-net-device.js';
import { VirtioPciFunction } from './virtio-pci.js';
import type { VirtioPciStatistics } from './virtio-pci.js';
import type { Backend, BackendLink } from '../backend/backend.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { WorkerThread } from '../sys/worker-thread.js';
import { allOrNothing } from '../undo.js';
import type { UndoList } from '../undo.js';

/** What a card needs of its machine. */
export interface NetworkCardPlace {
  readonly memory: GuestMemory;
  readonly interrupts: Interrupts;
  readonly doorbells: Doorbells;
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

/** A network device of a machine: PCI function and vhost workers. Its backend is not its own. */
export class NetworkCard {
  readonly device: VirtioNetDevice;
  readonly pci: VirtioPciFunction;
  readonly #backend: Backend;
  readonly #down: UndoList;

  static open(net: OpenNet, place: NetworkCardPlace): NetworkCard {
    return allOrNothing((undo) => new NetworkCard(undo, net, place));
  }

  private constructor(undo: UndoList, net: OpenNet, place: NetworkCardPlace) {
    this.#down = undo;
    this.#backend = net.backend;
    const { mac, queuePairs, queueSize, mtu, completeOnly = false } = net;
    this.device = new VirtioNetDevice({
      ...{ backend: this.#backend, memory: place.memory, mac, queuePairs, onFault: place.onFault },
      ...{ queueSize, completeOnly },
      ...(mtu !== undefined && { mtu }),
    });
    undo.push(() => {
      this.device.close();
    });
    const { interrupts, doorbells, onFailure } = place;
    this.pci = new VirtioPciFunction({ device: this.device, interrupts, doorbells, onFailure });
    undo.push(() => {
      this.pci.close();
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

  statistics(): NetworkCardStatistics {
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

  /** Down: rings, doorbells and interrupts; then workers. Before the backend. */
  close(): void {
    this.#down.unwind();
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
