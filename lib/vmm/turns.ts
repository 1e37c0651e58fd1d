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

/**
 * Work that a guest can bring without end, done in turns: between two of them is a pause as long as the
 * first was, so that it never takes more than half of the event loop's time; and there is one at a time,
 * however often the guest asks for it.
 */
export class Turns {
  readonly #around: (body: () => void) => void;
  readonly #clock: TurnClock;
  #takeBack: (() => void) | undefined;
  /** Changes with each stop. */
  #epoch = 0;

  /**
   * @param around  Does a turn that comes by itself.
   * @param clock  Default: the event loop's.
   */
  constructor(
    around = (body: () => void): void => {
      body();
    },
    clock: TurnClock = CLOCK,
  ) {
    this.#around = around;
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
    this.#takeBack = this.#clock.later(this.#clock.now() - began, () => {
      this.#takeBack = undefined;
      this.#around(() => {
        this.#take(turn);
      });
    });
  }
}
