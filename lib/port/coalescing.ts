/** Frames at once below which nobody waits for more: with so few, it is their delay that counts. */
const MANY = 8;

/** Milliseconds after which what has come is looked at, although the others have not. */
const LATEST = 1;

/** How often a call is asked for at once, after one that was waited for in vain. */
const CAUTION = 64;

/** The same after many of them in vain. */
const MOST_CAUTION = 1024;

/**
 * For how many frames the worker is to wait before it calls. To be woken costs as much as some dozens
 * of frames do. While several come between two calls anyway, as many are waited for, and as more come
 * while these are handled, soon many; but never for longer than a millisecond. When hardly any came
 * meanwhile, for some time every frame is called for, each time for twice as long.
 */
export class Coalescing {
  readonly #most: number;
  readonly #look: () => void;
  #timer: NodeJS.Timeout | undefined;
  /** A call for several frames was asked for, and has not come. */
  #waiting = false;
  /** Frames since the last time that there was none left. */
  #frames = 0;
  /** As many were those before that time. */
  #before = 0;
  /** Calls that are asked for at once before one may wait again. */
  #cautious = 0;
  #caution = CAUTION;

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
    const frames = (this.#before = this.#frames);
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
    if (this.#waiting) this.#caution = CAUTION;
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
    if (this.#before >= MANY) return;
    this.#cautious = this.#caution;
    this.#caution = Math.min(2 * this.#caution, MOST_CAUTION);
  }
}
