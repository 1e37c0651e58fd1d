import type { VirtioNetDevice } from './virtio-net-device.js';
import type { VirtioPciFunction } from './virtio-pci.js';
import type { RingName } from '../dataplane/queue-pair.js';
import { VhostError, misuse } from '../errors.js';
import { allOrNothing } from '../undo.js';

/** What is put in the way of. */
export type FaultyDevice = Pick<VirtioNetDevice, 'queueSizes' | 'holdQueue' | 'silenceQueue'>;

/** And the function that it is behind. */
export type FaultyFunction = Pick<VirtioPciFunction, 'vectors' | 'holdVector'>;

/** Ends a fault. A second time it does nothing, and nothing after the machine has ended. */
export type EndFault = () => void;

/**
 * What a test can put in the way of a card, so that it sees what the guest makes of it. Each is what a host
 * does anyway, for as long as it likes: the guest is not told, and a driver that keeps to the specification
 * has only to wait. Nothing is lost by it but what finds no room behind the card any more, which is
 * counted there. It stays in force whatever the driver does, over resets and reboots, until it is ended.
 *
 * A flapping link is no fault: `NetworkCard.setLink`.
 */
export class CardFaults {
  readonly #device: FaultyDevice;
  readonly #pci: FaultyFunction;
  readonly #held = new Set<string>();
  #closed = false;

  constructor(device: FaultyDevice, pci: FaultyFunction) {
    this.#device = device;
    this.#pci = pci;
  }

  /**
   * Takes a ring from the worker, as a repair does: frames wait on both sides of it. It goes on where it was.
   *
   * @param pair  The queue pair.
   * @returns What hands it back.
   * @throws {VhostError} `ERR_VHOST_STATE`: it is held already.
   */
  holdRing(ring: RingName, pair = 0): EndFault {
    const index = this.#queue(ring, pair);
    return this.#begin(`ring ${String(index)}`, (held) => {
      this.#device.holdQueue(index, held);
    });
  }

  /**
   * Delays completions: the worker goes on, and interrupts for nothing of it (`VHOST_SET_VRING_CALL` of -1).
   * The guest learns of them when it looks by itself, or at the end, by one interrupt.
   *
   * @param pair  The queue pair.
   * @throws {VhostError} `ERR_VHOST_STATE`: they are held already.
   */
  holdCompletions(ring: RingName, pair = 0): EndFault {
    const index = this.#queue(ring, pair);
    return this.#begin(`completions ${String(index)}`, (held) => {
      this.#device.silenceQueue(index, held);
    });
  }

  /**
   * Masks an MSI-X vector, without the guest: what is signalled is pending, and delivered at the end.
   *
   * @param index  Linux has 0 for the configuration, and then one for each queue.
   * @throws {VhostError} `ERR_VHOST_STATE`: it is held already.
   */
  holdVector(index: number): EndFault {
    const { vectors } = this.#pci;
    if (!Number.isInteger(index) || index < 0 || index >= vectors) {
      throw misuse.range('index', `an integer below ${String(vectors)}`, index);
    }
    return this.#begin(`vector ${String(index)}`, (held) => {
      this.#pci.holdVector(index, held);
    });
  }

  /** The machine has ended: nothing is handed back any more. */
  close(): void {
    this.#closed = true;
  }

  /** The last queue is the control queue, which has no worker. */
  #queue(ring: RingName, pair: number): number {
    const pairs = (this.#device.queueSizes.length - 1) / 2;
    if (Number.isInteger(pair) && pair >= 0 && pair < pairs) {
      return 2 * pair + (ring === 'receive' ? 0 : 1);
    }
    throw misuse.range('pair', `an integer below ${String(pairs)}`, pair);
  }

  #begin(what: string, hold: (held: boolean) => void): EndFault {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', 'the machine has ended');
    if (this.#held.has(what)) throw new VhostError('ERR_VHOST_STATE', `${what} is held already`);
    // What a failing start may have done of it is taken back.
    allOrNothing((undo) => {
      undo.push(() => {
        hold(false);
      });
      hold(true);
    });
    this.#held.add(what);
    let over = false;
    return () => {
      if (over || this.#closed) return;
      over = true;
      this.#held.delete(what);
      hold(false);
    };
  }
}
