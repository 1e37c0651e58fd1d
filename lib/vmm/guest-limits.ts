import { RateLimit } from './rate-limit.js';
import { LoopBudget } from '../sys/loop-budget.js';
import type { LoopStatistics } from '../sys/loop-budget.js';

/** Milliseconds of the event loop that a guest may have saved up: a boot comes in bursts. */
const SAVED_UP = 1000;

/** What is done for a guest outside of an access of its own. */
export interface GuestWork {
  /** Does it; the guest's next access pays for it. */
  charged(body: () => void): void;
  /** Milliseconds of rest after so many of work that may have no end. */
  pause(turn: number): number;
}

/** What a guest can make its host do, kept within bounds and counted. */
export class GuestLimits implements GuestWork {
  /** Of the event loop's time, for all vCPUs and all lives of a machine. */
  readonly budget: LoopBudget;
  readonly #rates: RateLimit[] = [];

  /** @param eventLoopShare  0.01 to 1. */
  constructor(eventLoopShare: number) {
    this.budget = new LoopBudget(eventLoopShare, SAVED_UP);
  }

  /** Does something that a guest can ask for as often as it likes; its next access pays for it. */
  charged(body: () => void): void {
    const began = performance.now();
    try {
      body();
    } finally {
      this.budget.charge(performance.now() - began);
    }
  }

  /** Milliseconds before more of what a guest brings without end is done, after a turn of so many. */
  pause(turn: number): number {
    return Math.max(turn, this.budget.due());
  }

  /** Something that a guest can have told as often as it likes: ten times a second at the most. */
  limited<T>(tell: (what: T) => void): (what: T) => void {
    const rate = new RateLimit();
    this.#rates.push(rate);
    return (what) => {
      rate.pass(() => {
        tell(what);
      });
    };
  }

  statistics(): { loop: LoopStatistics; untold: number } {
    const untold = this.#rates.reduce((sum, rate) => sum + rate.untold, 0);
    return { loop: this.budget.statistics(), untold };
  }
}
