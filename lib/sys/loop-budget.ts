import { native } from '../native.js';
import type { NativeLoopBudget } from '../native.js';

/** What vCPUs took of an event loop. */
export interface LoopStatistics {
  /** Milliseconds of the event loop that were taken. */
  readonly milliseconds: number;
  /** How often a vCPU had to wait because that was more than its share. */
  readonly waits: number;
  /** Milliseconds for which they waited, all together. */
  readonly waitedMilliseconds: number;
}

/**
 * How much of an event loop's time the vCPUs that share it may take: a share of the time that passes, and
 * what of it was saved up. A vCPU that took more waits before its next access is answered, and before its
 * end is told; the guest stands still, the loop is free.
 */
export class LoopBudget {
  /** @internal For vCPUs. */
  readonly native: NativeLoopBudget;

  /**
   * @param share  0.001 to 1; with 1 nobody ever waits.
   * @param milliseconds  So much is saved up at the most, and at first.
   */
  constructor(share: number, milliseconds: number) {
    this.native = new native.LoopBudget(share, milliseconds);
  }

  /** Milliseconds that were spent for the guest elsewhere than in an answer. */
  charge(milliseconds: number): void {
    this.native.charge(milliseconds);
  }

  /** Milliseconds for which whoever takes of it without a vCPU has to wait; 0: not at all. */
  due(): number {
    return this.native.due();
  }

  statistics(): LoopStatistics {
    const [milliseconds = 0, waits = 0, waitedMilliseconds = 0] = this.native.statistics();
    return { milliseconds, waits, waitedMilliseconds };
  }
}
