import type { GuestWork } from './guest-limits.js';

/** A clock, and what calls back later; it answers with how to take that back. */
export interface TurnClock {
  now(): number;
  later(milliseconds: number, body: () => void): () => void;
}

const CLOCK: TurnClock = {
  now: () => performance.now(),
  later: (milliseconds, body) => {
    const timer = setTimeout(body, milliseconds);
    return () => {
      clearTimeout(timer);
    };
  },
};

/** Work without a budget: it takes half of the event loop's time at the most. */
export const UNLIMITED: GuestWork = {
  charged: (body) => {
    body();
  },
  pause: (turn) => turn,
};

/**
 * Work that a guest can bring without end, done in turns: between two of them is a pause, and there is
 * one at a time, however often the guest asks for it.
 */
export class Turns {
  readonly #work: GuestWork;
  readonly #clock: TurnClock;
  #takeBack: (() => void) | undefined;
  /** Changes with each stop. */
  #epoch = 0;

  /**
   * @param work  Does a turn that comes by itself, and says how long the pause is.
   * @param clock  Default: the event loop's.
   */
  constructor(work: GuestWork = UNLIMITED, clock: TurnClock = CLOCK) {
    this.#work = work;
    this.#clock = clock;
  }

  /**
   * Takes a turn now, unless one is to come anyway.
   *
   * @param turn  Says whether there may be more.
   */
  begin(turn: () => boolean): void {
    if (!this.#takeBack) this.#take(turn);
  }

  /** None comes any more, until they are begun anew. */
  stop(): void {
    this.#epoch++;
    this.#takeBack?.();
    this.#takeBack = undefined;
  }

  #take(turn: () => boolean): void {
    const epoch = this.#epoch;
    const began = this.#clock.now();
    if (!turn() || epoch !== this.#epoch) return;
    const pause = this.#work.pause(this.#clock.now() - began);
    this.#takeBack = this.#clock.later(pause, () => {
      this.#takeBack = undefined;
      this.#work.charged(() => {
        this.#take(turn);
      });
    });
  }
}
