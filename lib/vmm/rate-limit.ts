/** So many at once, and so many a second after that. */
const MOST = 10;
const PER_MILLISECOND = MOST / 1000;

/**
 * What a guest has the host tell somebody, kept to ten a second: whoever listens, or writes it down, is
 * not to be kept busy by a guest that does wrong on purpose.
 */
export class RateLimit {
  readonly #now: () => number;
  #left = MOST;
  #at: number | undefined;
  #untold = 0;

  /** @param now  Milliseconds of a clock that never goes back. Default: `performance.now()`. */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** How much was not told because there was too much. */
  get untold(): number {
    return this.#untold;
  }

  /** Tells it, or counts it. */
  pass(tell: () => void): void {
    const now = this.#now();
    this.#left = Math.min(MOST, this.#left + (now - (this.#at ?? now)) * PER_MILLISECOND);
    this.#at = now;
    if (this.#left < 1) {
      this.#untold++;
      return;
    }
    this.#left--;
    tell();
  }
}
