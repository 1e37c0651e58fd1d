import type { SlotArea } from './arena.js';
import { PLAIN_HEADER, clearHeader, writeHeader } from '../ring/net-header.js';
import type { NetHeader } from '../ring/net-header.js';

/** Which slots of a transmit ring may have something else than zeros where a header is. */
export class SlotHeaders {
  /** How many. */
  markedCount = 0;

  readonly #slots: SlotArea;
  readonly #marked: Uint8Array;

  constructor(slots: SlotArea) {
    this.#slots = slots;
    this.#marked = new Uint8Array(slots.count);
  }

  /** All are zeros from now on, but those of slots that are the caller's. */
  reset(isCallers: (slot: number) => boolean): void {
    this.#marked.fill(0);
    this.markedCount = 0;
    for (let slot = 0; slot < this.#slots.count; slot++) {
      if (isCallers(slot)) this.mark(slot);
      else this.#clear(slot);
    }
  }

  /** It may be anything. */
  mark(slot: number): void {
    if (this.#marked[slot] === 0) this.markedCount++;
    this.#marked[slot] = 1;
  }

  /** For a complete frame: nothing to be written where there are zeros already. */
  clean(slot: number): void {
    if (this.#marked[slot] === 0) return;
    this.#unmark(slot);
    this.#clear(slot);
  }

  /** The same for `count` slots from `first` on that somebody may have written to unseen. */
  cleanRun(first: number, count: number): void {
    this.#slots.clearHeaders(first, count);
    if (this.markedCount === 0) return;
    for (let slot = first; slot < first + count; slot++) this.#unmark(slot);
  }

  /** Whatever is there. Undefined: of a complete frame. */
  write(slot: number, header: Readonly<NetHeader> | undefined): void {
    this.mark(slot);
    const { words16, headerSize } = this.#slots;
    writeHeader(words16, this.#slots.headerWord(slot), header ?? PLAIN_HEADER, headerSize);
  }

  #unmark(slot: number): void {
    this.markedCount -= this.#marked[slot] ?? 0;
    this.#marked[slot] = 0;
  }

  #clear(slot: number): void {
    const { words16, headerSize } = this.#slots;
    clearHeader(words16, this.#slots.headerWord(slot), headerSize);
  }
}
