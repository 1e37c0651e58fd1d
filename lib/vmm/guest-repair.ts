import type { GuestWork } from './guest-limits.js';
import type { GuestPair } from './guest-pair.js';
import type { GuestPairs } from './guest-pairs.js';
import { BACKEND_LOST, Watchdog } from '../dataplane/repair.js';
import type { Fault, RingPlace, WatchdogSubject } from '../dataplane/repair.js';
import { VhostError } from '../errors.js';

/** Something that kept a guest's rings from going on, and what became of it. */
export interface GuestFault extends Fault {
  /**
   * - `repaired`: the rings run again, without the guest having noticed.
   * - `needs-reset`: the guest put something in its rings that can't be served, or the host refused what
   *   that takes; the guest was told so.
   * - `waiting`: the interface is gone and can't be made again yet; it is tried again and again.
   */
  readonly outcome: 'repaired' | 'needs-reset' | 'waiting';
  /** Frames of the guest's that were given back to it: unsent, or nobody knows. */
  readonly unsent: number;
}

/** What a repair works with. */
export interface GuestRepairOptions {
  readonly pairs: GuestPairs;
  readonly work: GuestWork;
  /** Tells the guest. */
  readonly needsReset: () => void;
  readonly onFault: (fault: GuestFault) => void;
}

const ZERO = { words: new Uint16Array(1), at: 0 };

/** Nothing ever waits in it: of the device there is the interface alone to look at. */
const NO_RING: RingPlace = { avail: ZERO, used: ZERO, size: 0 };

/**
 * Looks after a guest's rings while they run, and mends what can be mended from outside: an interface
 * that is gone is made again, a frame over which the worker spins is given back unsent. What a driver
 * did wrong is the driver's to mend.
 */
export class GuestRepair {
  readonly #options: GuestRepairOptions;
  #watchdogs: readonly Watchdog[] = [];
  #waiting = false;

  constructor(options: GuestRepairOptions) {
    this.#options = options;
  }

  /** Begins to look. Does not keep the process alive. */
  start(): void {
    this.stop();
    this.#watchdogs = this.#options.pairs.all.map((pair, index) => this.#watch(pair, index));
    for (const watchdog of this.#watchdogs) watchdog.start();
  }

  stop(): void {
    for (const watchdog of this.#watchdogs) watchdog.stop();
    this.#watchdogs = [];
    this.#waiting = false;
  }

  /** Mends what was seen, or tells the guest that it can't be. */
  mend(seen: Fault, pair?: GuestPair): void {
    // A worker gives a ring up as well because the interface went from under it. One that is there is
    // left alone: closing it would take it from whoever is behind it.
    if (seen === BACKEND_LOST || this.#options.pairs.backendLost()) this.#reopen();
    else if (seen.cause === 'stuck' && pair) this.#skip(seen, pair);
    else this.#giveUp(seen);
  }

  /** The interface is the same for all: one look is enough. */
  #watch(pair: GuestPair, index: number): Watchdog {
    const { pairs } = this.#options;
    const subject: WatchdogSubject = {
      worker: pair.pair.worker,
      backendLost: () => index === 0 && pairs.backendLost(),
      transmitProgress: () => pair.progress('transmit'),
      transmitBase: () => pair.pair.base('transmit'),
      kickTransmit: () => {
        pair.pair.transmit.kick.signal();
      },
      transmitPlace: () => {
        const place = pair.place('transmit') ?? NO_RING;
        return index === 0 ? { ...place, backend: pairs.backendQueue?.descriptor } : place;
      },
    };
    const watchdog = new Watchdog(subject, (fault) => {
      this.#options.work.charged(() => {
        this.mend(fault, pair);
      });
    });
    pair.onPlaced = (ring) => {
      if (ring === 'transmit') watchdog.ringMoved();
    };
    return watchdog;
  }

  #reopen(): void {
    try {
      const unsent = this.#options.pairs.reopenBackend();
      this.#waiting = false;
      this.#tell(BACKEND_LOST, 'repaired', unsent);
    } catch (error) {
      if (this.#options.pairs.backendLost()) this.#wait(error as Error);
      else this.#giveUp(faultOf(error));
    }
  }

  /** The watchdog sees again and again that the interface is gone; it is told once. */
  #wait({ message }: Error): void {
    if (this.#waiting) return;
    this.#waiting = true;
    this.#tell({ ...BACKEND_LOST, message }, 'waiting', 0);
  }

  #skip(fault: Fault, pair: GuestPair): void {
    try {
      this.#tell(fault, 'repaired', pair.skipTransmit());
    } catch (error) {
      this.#giveUp({ ...fault, message: (error as Error).message });
    }
  }

  #giveUp(fault: Fault): void {
    this.#options.needsReset();
    this.#tell(fault, 'needs-reset', 0);
  }

  #tell(fault: Fault, outcome: GuestFault['outcome'], unsent: number): void {
    this.#options.onFault({ ...fault, outcome, unsent });
  }
}

/** What kept rings from being handed out: a fault of the driver's, or the host refused something. */
export function faultOf(error: unknown): Fault {
  const corrupt = error instanceof VhostError && error.code === 'ERR_VHOST_QUEUE_CORRUPT';
  const { message } = error as Error;
  return { cause: corrupt ? 'corrupt' : 'backend', ring: 'both', message };
}
