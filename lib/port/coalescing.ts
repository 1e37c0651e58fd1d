/** Frames at once below which nobody waits for more: with so few, it is their delay that counts. */
const MANY = 32;

/** Milliseconds after which what has come is looked at, although the others have not. */
const LATEST = 1;

/** How often a call is asked for at once, after one that was waited for in vain. */
const CAUTION = 64;

/**
 * For how many frames the worker is to wait before it calls. To be woken costs as much as some dozens
 * of frames do. While so many come between two calls anyway, as many are waited for, but never for
 * longer than a millisecond; when hardly any came meanwhile, for some time every frame is called for.
 */
export class Coalescing {
  readonly #most: number;
  readonly #look: () => void;
  #timer: NodeJS.Timeout | undefined;
  /** A call for several frames was asked for, and has not come. */
  #waiting = false;
  /** Frames since the last time that there was none left. */
  #frames = 0;
  #cautious = 0;

  /**
   * @param most  Frames to wait for at the most; 1: none is waited for.
   * @param look  Looks for frames that nobody called for.
   */
  constructor(most: number, look: () => void) {
    this.#most = most;
    this.#look = look;
  }

  /** So many frames came. */
  count(frames: number): void {
    this.#frames += frames;
  }

  /** After how many frames to ask for a call, now that there is none left. */
  next(): number {
    const frames = this.#frames;
    this.#frames = 0;
    if (this.#cautious > 0) this.#cautious--;
    else if (frames >= MANY) return Math.min(frames, this.#most);
    return 1;
  }

  /** That call was asked for: until it comes, or the time is over. */
  wait(frames: number): void {
    this.#waiting = frames > 1;
    if (!this.#waiting) return;
    if (this.#timer) this.#timer.refresh();
    else
      this.#timer = setTimeout(() => {
        this.#timeIsOver();
      }, LATEST).unref();
  }

  /** A call came. */
  called(): void {
    this.#waiting = false;
  }

  /** Nothing is looked for any more. */
  stop(): void {
    this.#waiting = false;
    clearTimeout(this.#timer);
  }

  #timeIsOver(): void {
    if (!this.#waiting) return;
    this.#waiting = false;
    this.#look();
    if (this.#frames < MANY) this.#cautious = CAUTION;
  }
}
