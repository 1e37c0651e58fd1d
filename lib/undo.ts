/**
 * A list of things to take back, newest first: how a start that failed half-way unwinds, and how a
 * finished one goes down.
 */
export class UndoList {
  #steps: (() => void)[] = [];

  /** Remembers how to take back what was just done. */
  push(undo: () => void): void {
    this.#steps.push(undo);
  }

  /** Whether there is nothing to take back. */
  get empty(): boolean {
    return this.#steps.length === 0;
  }

  /**
   * Takes back everything, newest first. A step that throws does not keep the others from running.
   *
   * @throws what the only failing step threw, or an `AggregateError` of all of them.
   */
  unwind(): void {
    const errors: unknown[] = [];
    for (let undo = this.#steps.pop(); undo !== undefined; undo = this.#steps.pop()) {
      try {
        undo();
      } catch (error) {
        errors.push(error);
      }
    }
    throwAll(errors);
  }
}

/** @throws The only error, or an `AggregateError` of all of them; without any it returns. */
export function throwAll(errors: readonly unknown[]): void {
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new AggregateError(errors, 'several steps of a tear-down failed');
}

/**
 * Waits for all of them, also when one has failed.
 *
 * @throws As {@link throwAll}, what they reject with.
 */
export async function allSettled(steps: readonly unknown[]): Promise<void> {
  const results = await Promise.allSettled(steps);
  throwAll(results.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : [])));
}

/**
 * Runs `body` with a list for what it does. When it throws, everything done so far is taken back,
 * and the error that comes out is that of the body.
 */
export function allOrNothing<T>(body: (undo: UndoList) => T): T {
  const undo = new UndoList();
  try {
    return body(undo);
  } catch (error) {
    try {
      undo.unwind();
    } catch {
      // The first error is the cause; those of the way back are its consequence.
    }
    throw error;
  }
}
