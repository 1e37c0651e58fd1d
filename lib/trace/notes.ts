import type { TraceEvent } from './lines.js';
import type { KernelRecord } from './record.js';

/** How something was seen. */
export type Source = 'ioctl' | 'kernel' | 'memory' | 'port' | 'socket';

/** One thing that was seen. */
export interface Observation {
  readonly source: Source;
  /** Since step 3 began, when the moment is known. */
  readonly microseconds?: number;
  readonly text: string;
}

/** One step of the ten, and what was seen of it. */
export interface Step {
  readonly step: number;
  readonly title: string;
  /** All that must be seen was seen. */
  readonly observed: boolean;
  /** When the first of it was seen. */
  readonly microseconds?: number;
  readonly seen: readonly Observation[];
  /** What was not seen, and why. */
  readonly missing: readonly string[];
}

/** Collects what was seen of one step. */
export class Notes {
  readonly #seen: Observation[] = [];
  readonly #missing: string[] = [];
  readonly #kernel: KernelRecord;

  constructor(kernel: KernelRecord) {
    this.#kernel = kernel;
  }

  /** Something that was seen. */
  add(source: Source, at: bigint | undefined, text: string): void {
    const { zero } = this.#kernel;
    const known = at !== undefined && zero !== undefined;
    this.#seen.push({ source, ...(known && { microseconds: Number(at - zero) / 1000 }), text });
  }

  /** Something that must be as it is claimed. */
  must(source: Source, at: bigint | undefined, holds: boolean, claim: string): void {
    if (holds) this.add(source, at, claim);
    else this.#missing.push(`${claim}: not so`);
  }

  /** Something that did not come. */
  lack(what: string): void {
    this.#missing.push(what);
  }

  /** An event of the kernel that must be there, told by `tell`. */
  event(id: string, found: TraceEvent | undefined, tell: (event: TraceEvent) => string): void {
    if (found) this.add('kernel', found.nanoseconds, tell(found));
    else this.#missing.push(`${id}: ${this.#kernel.whyUnseen(id)}`);
  }

  /** The same of one that need not be. */
  perhaps(found: TraceEvent | undefined, tell: (event: TraceEvent) => string): void {
    if (found) this.add('kernel', found.nanoseconds, tell(found));
  }

  toStep(step: number, title: string): Step {
    const times = this.#seen.flatMap(({ microseconds }) => microseconds ?? []);
    return {
      step,
      title,
      observed: this.#missing.length === 0,
      ...(times.length > 0 && { microseconds: Math.min(...times) }),
      seen: this.#seen,
      missing: this.#missing,
    };
  }
}
