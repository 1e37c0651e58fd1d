import { Sentry } from '../sys/sentry.js';
import type { RingPlace } from '../sys/sentry.js';
import type { WorkerThread } from '../sys/worker-thread.js';

export type { RingPlace } from '../sys/sentry.js';

/**
 * What keeps rings from going on.
 *
 * - `kernel`: the worker gave a ring up and said so, by its error eventfd.
 * - `corrupt`: the other side of a ring wrote what can't be true.
 * - `stuck`: the worker tries the same chain again and again, or sleeps although it was told of work.
 * - `backend`: the interface is gone; of a guest's device also: something was refused that it takes.
 */
export type FaultCause = 'kernel' | 'corrupt' | 'stuck' | 'backend';

/** A ring by its name; the `backend` stands behind both. */
export type FaultyRing = 'receive' | 'transmit' | 'both';

/** Something that only a repair ends. */
export interface Fault {
  readonly cause: FaultCause;
  readonly ring: FaultyRing;
  /** The same for a person. */
  readonly message: string;
}

/** The interface is gone. */
export const BACKEND_LOST: Fault = {
  cause: 'backend',
  ring: 'both',
  message: 'the interface is gone',
};

/** How far a ring has come. */
export interface RingProgress {
  /** Chains that the device has not completed. */
  readonly waiting: number;
  /** Its used index. */
  readonly used: number;
}

/** What a watchdog looks at. */
export interface WatchdogSubject {
  readonly worker: WorkerThread | undefined;
  /** Whether the interface behind the rings is gone. */
  backendLost(): boolean;
  /** @throws when what the device wrote can't be true. */
  transmitProgress(): RingProgress;
  /** The avail index that the device would read next. */
  transmitBase(): number;
  /** Wakes the worker, should it have missed that there is work. */
  kickTransmit(): void;
  /** Where a sentry sees all of that while it goes on; undefined: nowhere. */
  transmitPlace?(): RingPlace | undefined;
}

/**
 * Milliseconds between two looks while all goes on, and once something stands still. A ring that stops just
 * after a look is seen to stand at the second after it, and judged at the next: within a second, with time
 * left for the repair and for a machine that is busy. Each look costs, so they are as rare as that allows.
 */
const PERIOD = 300;
const SOON = 100;

/** Milliseconds that a timer may come early. */
const TIMER_ROUNDING = 2;

/** Looks in a row at which nothing had moved, before a ring counts as stuck. */
const PATIENCE = 2;

/**
 * CPU time in nanoseconds since nothing was seen to move from which on a worker counts as spinning: enough for
 * thousands of frames. Not a share of the time that passed: on a busy machine a spinning worker does not
 * get much.
 */
const SPINNING = 20e6;

/** What is asked only of a ring that stands still: the worker would have to be waited for. */
interface Standstill {
  readonly base: number;
  readonly cpuTime: number;
}

/**
 * Looks after what no eventfd tells: a vanished interface, and a worker that does not get past a
 * chain. vhost puts a frame back that the tap refuses and tries it again for ever, without a word.
 */
export class Watchdog {
  readonly #subject: WatchdogSubject;
  readonly #onFault: (fault: Fault) => void;
  /** Looks while all goes on, and pauses while the timer is set. */
  #sentry: Sentry | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The used index at the last look; undefined when there was nothing to wait for. */
  #used: number | undefined;
  /** What was asked when nothing moved for the first time. */
  #standstill: Standstill | undefined;
  #strikes = 0;
  /** When the next look is to be. */
  #due = 0;

  constructor(subject: WatchdogSubject, onFault: (fault: Fault) => void) {
    this.#subject = subject;
    this.#onFault = onFault;
  }

  /** Begins to look. Does not keep the process alive. */
  start(): void {
    this.stop();
    this.#due = performance.now() + PERIOD;
    this.#arm();
  }

  /** For who keeps the timer from running. */
  lookWhenDue(): void {
    if (this.rest > 0) return;
    // What the sentry saw last, where it was the one to look.
    if (!this.#timer) this.#used = this.#sentry?.seen;
    this.#goOn(this.#lookNow());
  }

  /** Milliseconds until the next look; infinite when there is none to come. */
  get rest(): number {
    if (this.#timer) return Math.max(0, this.#due - performance.now());
    return this.#sentry?.rest ?? Infinity;
  }

  #arm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#standstill && this.#post()) return;
    this.#sentry?.pause();
    this.#timer = setTimeout(
      () => {
        this.#turn();
      },
      Math.max(1, this.#due - performance.now()),
    );
    this.#timer.unref();
  }

  /** Whether a sentry looks from now on. */
  #post(): boolean {
    if (this.#sentry) this.#sentry.again(this.#used);
    else {
      const place = this.#subject.transmitPlace?.();
      this.#sentry = place && new Sentry(place, this.#used, PERIOD, this.#alarmed);
    }
    return this.#sentry !== undefined;
  }

  /** The transmit ring is another one from now on, of which nothing was seen. */
  ringMoved(): void {
    this.#used = undefined;
    this.#forgive();
    this.#sentry?.retire();
  }

  /** The next one is of the ring and the interface as they are then. */
  readonly #alarmed = (seen: number | undefined): void => {
    this.#dismiss();
    this.#used = seen;
    this.#goOn(this.#lookNow());
  };

  #dismiss(): void {
    this.#sentry?.close();
    this.#sentry = undefined;
  }

  #turn(): void {
    // A timer may come a little early; if somebody has looked meanwhile, it is far too early.
    const isDue = this.#due - performance.now() < TIMER_ROUNDING;
    this.#goOn(isDue ? this.#lookNow() : undefined);
  }

  /** The next look before what was seen is told: who hears of it may stop the looks. */
  #goOn(fault: Fault | undefined): void {
    try {
      this.#arm();
    } finally {
      if (fault) this.#onFault(fault);
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#dismiss();
    this.#used = undefined;
    this.#forgive();
  }

  #forgive(): void {
    this.#standstill = undefined;
    this.#strikes = 0;
  }

  #lookNow(): Fault | undefined {
    const fault = this.look();
    // What was told is somebody else's now; should it go on, it is seen anew.
    if (fault) this.#forgive();
    this.#due = performance.now() + (this.#standstill ? SOON : PERIOD);
    return fault;
  }

  /** One look; undefined when all is well, or may still become so. */
  look(): Fault | undefined {
    try {
      return this.#subject.backendLost() ? BACKEND_LOST : this.#lookAtTransmit();
    } catch (error) {
      return { cause: 'corrupt', ring: 'transmit', message: (error as Error).message };
    }
  }

  #lookAtTransmit(): Fault | undefined {
    const { waiting, used } = this.#subject.transmitProgress();
    const moved = waiting === 0 || used !== this.#used;
    this.#used = waiting === 0 ? undefined : used;
    if (!moved) return this.#lookAgain(waiting);
    this.#forgive();
    return undefined;
  }

  /** Nothing was completed since the last look, although there is something to. */
  #lookAgain(waiting: number): Fault | undefined {
    const now = this.#ask();
    const before = this.#standstill;
    // A worker that takes chains goes on, though it completes none.
    const isAnew = before?.base !== now.base;
    this.#strikes = isAnew ? 1 : this.#strikes + 1;
    if (isAnew) this.#standstill = now;
    else if (this.#strikes >= PATIENCE) return this.#judge(before, now, waiting);
    // A worker that only missed its kick is not stuck.
    this.#subject.kickTransmit();
    return undefined;
  }

  #ask(): Standstill {
    const { worker } = this.#subject;
    return { base: this.#subject.transmitBase(), cpuTime: worker?.cpuTime ?? NaN };
  }

  /** A worker that wants to run and gets no CPU is not to blame. */
  #judge(before: Standstill, now: Standstill, waiting: number): Fault | undefined {
    const { worker } = this.#subject;
    const stuck = (how: string): Fault => ({
      cause: 'stuck',
      ring: 'transmit',
      message: `${how} at avail index ${String(now.base)}, ${String(waiting)} frames waiting`,
    });
    if (now.cpuTime - before.cpuTime >= SPINNING) return stuck('the worker spins');
    // One that can't be asked may just not have run since it was kicked: it gets a look more.
    const isIdle = worker ? worker.sleeps : this.#strikes > PATIENCE;
    return isIdle ? stuck('the worker does not go on') : undefined;
  }
}
