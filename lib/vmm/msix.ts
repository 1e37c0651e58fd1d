import type { Interrupts } from './platform.js';
import { VhostSystemError } from '../errors.js';
import { EventFd } from '../sys/eventfd.js';
import {
  PCI_MSIX_ENTRY_CTRL_MASKBIT,
  PCI_MSIX_ENTRY_DATA,
  PCI_MSIX_ENTRY_LOWER_ADDR,
  PCI_MSIX_ENTRY_SIZE,
  PCI_MSIX_ENTRY_UPPER_ADDR,
  PCI_MSIX_ENTRY_VECTOR_CTRL,
} from '../uapi/pci.js';
import type { UndoList } from '../undo.js';
import { allOrNothing } from '../undo.js';

const WORDS = PCI_MSIX_ENTRY_SIZE / 4;
const LOWER = PCI_MSIX_ENTRY_LOWER_ADDR / 4;
const UPPER = PCI_MSIX_ENTRY_UPPER_ADDR / 4;
const DATA = PCI_MSIX_ENTRY_DATA / 4;
const CONTROL = PCI_MSIX_ENTRY_VECTOR_CTRL / 4;
const NOWHERE = -1n;

/** One vector: the eventfd that asks for it, and what the machine knows of it. */
class Vector {
  readonly event = new EventFd();
  readonly gsi: number;
  attached = false;
  /** The message that the line delivers. */
  routedAddress = NOWHERE;
  routedData = 0;

  constructor(interrupts: Interrupts) {
    try {
      this.gsi = interrupts.allocate();
    } catch (error) {
      this.event.close();
      throw error;
    }
  }

  isPending(): boolean {
    return !this.attached && EventFd.wait(0, this.event) !== 0;
  }
}

/** What happened to the vectors of a function. */
export interface MsixStatistics {
  /** Times that a vector was masked while it could have been delivered, and the other way round. */
  readonly masked: number;
  readonly unmasked: number;
  /** Messages that the machine refused to deliver. */
  readonly refused: number;
}

/**
 * The MSI-X table of one function, with its pending bits. Whoever asks for an interrupt signals the
 * vector's eventfd and need not know whether it is masked: while it can be delivered the eventfd is
 * attached to an interrupt line, and the kernel takes its counter; while it can't the counter stays
 * where it is, and that *is* the pending bit. Attaching injects what is pending, so none is lost.
 *
 * Spec: PCI Local Bus 3.0 §6.8.2 "MSI-X Capability and Table Structure", §6.8.3.
 */
export class MsixTable {
  readonly #interrupts: Interrupts;
  readonly #vectors: readonly Vector[];
  readonly #table: Uint32Array;
  readonly #down: UndoList;
  /** Vectors that are masked from outside, of which the guest sees nothing. */
  readonly #held = new Set<number>();
  #enabled = false;
  #functionMask = false;
  #masked = 0;
  #unmasked = 0;
  #refused = 0;

  constructor(size: number, interrupts: Interrupts) {
    this.#interrupts = interrupts;
    this.#table = new Uint32Array(size * WORDS);
    this.#maskAll();
    const vectors: Vector[] = [];
    this.#down = allOrNothing((undo) => {
      for (let index = 0; index < size; index++) vectors.push(this.#makeVector(undo));
      return undo;
    });
    this.#vectors = vectors;
  }

  /** Entries. */
  get size(): number {
    return this.#vectors.length;
  }

  /** Bytes of the table. */
  get byteLength(): number {
    return this.#table.byteLength;
  }

  /** Bytes of the pending bits, in words of 64. */
  get pendingBytes(): number {
    return Math.ceil(this.size / 64) * 8;
  }

  /** What is to be signalled for an interrupt of this vector; undefined when there is no such vector. */
  event(index: number): EventFd | undefined {
    return this.#vectors[index]?.event;
  }

  statistics(): MsixStatistics {
    return { masked: this.#masked, unmasked: this.#unmasked, refused: this.#refused };
  }

  /** The two bits of the capability's control word. */
  control(enabled: boolean, functionMask: boolean): void {
    if (enabled === this.#enabled && functionMask === this.#functionMask) return;
    this.#enabled = enabled;
    this.#functionMask = functionMask;
    for (let index = 0; index < this.size; index++) this.#settle(index);
  }

  /**
   * Masks a vector whatever its entry says, or no longer. What is signalled meanwhile is pending, and
   * delivered then.
   */
  hold(index: number, held: boolean): void {
    if (held) this.#held.add(index);
    else this.#held.delete(index);
    this.#settle(index);
  }

  /** Double words of the table; what has another size or place reads as 0. */
  read(offset: number, size: number): number {
    if (size !== 4 || offset % 4 !== 0) return 0;
    return this.#table[offset / 4] ?? 0;
  }

  /** Only double words can be written. */
  write(offset: number, size: number, value: number): void {
    const word = offset / 4;
    if (size !== 4 || !Number.isInteger(word) || word >= this.#table.length) return;
    const bits = word % WORDS === CONTROL ? value & PCI_MSIX_ENTRY_CTRL_MASKBIT : value;
    this.#table[word] = bits;
    this.#settle(Math.floor(word / WORDS));
  }

  /** The pending bits; nothing is consumed by looking. */
  readPending(offset: number, size: number): number {
    let value = 0;
    const first = 8 * offset;
    const end = Math.min(first + 8 * size, this.size);
    for (let index = first; index < end; index++) {
      if (this.#vectors[index]?.isPending()) value |= 1 << (index - first);
    }
    return value >>> 0;
  }

  /** Forgets what is pending. A vector that is attached has nothing pending. */
  forgetPending(): void {
    for (const { attached, event } of this.#vectors) if (!attached) event.drain();
  }

  /** Disabled, every entry masked and empty, nothing pending: the state after power-on. */
  reset(): void {
    this.control(false, false);
    this.#table.fill(0);
    this.#maskAll();
    this.forgetPending();
  }

  /** Detaches every vector and gives its line back. Nobody may signal them any more. */
  close(): void {
    this.#down.unwind();
  }

  #maskAll(): void {
    for (let word = CONTROL; word < this.#table.length; word += WORDS) {
      this.#table[word] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
    }
  }

  #makeVector(undo: UndoList): Vector {
    const vector = new Vector(this.#interrupts);
    undo.push(() => {
      this.#detach(vector);
      this.#interrupts.free(vector.gsi);
      vector.event.close();
    });
    return vector;
  }

  /** Brings what the machine does with a vector in line with its entry. */
  #settle(index: number): void {
    const vector = this.#vectors[index];
    if (!vector) return;
    if (!this.#deliverable(index)) {
      if (vector.attached) this.#masked++;
      this.#detach(vector);
      return;
    }
    try {
      this.#route(index, vector);
      this.#attach(vector);
    } catch (error) {
      // The guest chose the message. One that can't be delivered stays pending.
      if (!(error instanceof VhostSystemError)) throw error;
      this.#refused++;
      this.#detach(vector);
    }
  }

  #deliverable(index: number): boolean {
    const control = this.#table[index * WORDS + CONTROL] ?? 0;
    const masked = this.#functionMask || (control & PCI_MSIX_ENTRY_CTRL_MASKBIT) !== 0;
    return this.#enabled && !masked && !this.#held.has(index);
  }

  /** Before the eventfd is attached: what it injects at once must go where the entry says. */
  #route(index: number, vector: Vector): void {
    const lower = this.#table[index * WORDS + LOWER] ?? 0;
    const upper = this.#table[index * WORDS + UPPER] ?? 0;
    const data = this.#table[index * WORDS + DATA] ?? 0;
    const address = (BigInt(upper) << 32n) | BigInt(lower);
    if (address === vector.routedAddress && data === vector.routedData) return;
    this.#interrupts.route(vector.gsi, { address, data });
    vector.routedAddress = address;
    vector.routedData = data;
  }

  #attach(vector: Vector): void {
    if (vector.attached) return;
    this.#interrupts.attach(vector.gsi, vector.event);
    vector.attached = true;
    this.#unmasked++;
  }

  #detach(vector: Vector): void {
    if (!vector.attached) return;
    vector.attached = false;
    this.#interrupts.detach(vector.gsi, vector.event);
  }
}
