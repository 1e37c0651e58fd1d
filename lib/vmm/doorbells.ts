import type { Doorbells } from './platform.js';
import { VhostSystemError } from '../errors.js';
import type { EventFd } from '../sys/eventfd.js';
import { UndoList } from '../undo.js';

/** A doorbell at the place where it was registered. */
interface Placed {
  readonly address: number;
  readonly event: EventFd;
}

/**
 * The doorbells of one function, at the place where a guest sees them now: they follow the BAR, and
 * are gone while it does not answer.
 */
export class PlacedDoorbells {
  readonly #doorbells: Doorbells;
  #placed: Placed[] = [];
  #base: number | undefined;
  #refused = 0;

  constructor(doorbells: Doorbells) {
    this.#doorbells = doorbells;
  }

  /** Doorbells that are registered. */
  get count(): number {
    return this.#placed.length;
  }

  /**
   * Doorbells that the machine refused at the place that the guest chose, such as one where another
   * device's are. Writes to them come to user space.
   */
  get refused(): number {
    return this.#refused;
  }

  /**
   * Registers them where they belong; those of another place go first.
   *
   * @param base  The guest address of the first; undefined: nowhere.
   * @param stride  Bytes from one to the next.
   * @param events  Undefined: this one has to come to user space.
   */
  place(base: number | undefined, stride: number, events: () => (EventFd | undefined)[]): void {
    if (base === this.#base) return;
    this.clear();
    this.#base = base;
    if (base === undefined) return;
    events().forEach((event, index) => {
      if (event) this.#assign(base + index * stride, event);
    });
  }

  /** Takes all of them away. */
  clear(): void {
    const placed = this.#placed;
    this.#placed = [];
    this.#base = undefined;
    const undo = new UndoList();
    for (const { address, event } of placed) {
      undo.push(() => {
        this.#doorbells.deassign(address, event);
      });
    }
    undo.unwind(); // one that is refused keeps none of the others
  }

  #assign(address: number, event: EventFd): void {
    try {
      this.#doorbells.assign(address, event);
      this.#placed.push({ address, event });
    } catch (error) {
      if (!(error instanceof VhostSystemError)) throw error;
      this.#refused++;
    }
  }
}
