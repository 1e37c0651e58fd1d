import { DESCRIPTOR_BYTES } from './split-layout.js';
import { misuse } from '../errors.js';
import { VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE } from '../uapi/virtio.js';

/** One buffer of a chain. */
export interface Segment {
  /** A guest address; a safe integer. */
  readonly address: number;
  /** Bytes. */
  readonly length: number;
  /** Whether the device writes it; else it reads it. */
  readonly writable: boolean;
}

/** Memory for one indirect table per descriptor. */
export interface IndirectArea {
  /** The guest address of the first table; 16-aligned. */
  readonly address: number;
  /** The memory of the tables. */
  readonly buffer: ArrayBuffer;
  /** Where the first table lies in `buffer`; 16-aligned. */
  readonly byteOffset: number;
  /** Segments of each table. */
  readonly maxSegments: number;
}

const WORDS32 = DESCRIPTOR_BYTES / 4;
const WORDS16 = DESCRIPTOR_BYTES / 2;
const LENGTH_32 = 2;
const FLAGS_16 = 6;
const NEXT_16 = 7;

/** A descriptor's state, kept here: what lies in shared memory is not to be trusted. */
const FREE = 0;
const OURS = 1;
const IN_FLIGHT = 2;

/** Ends a chain. */
const NONE = -1;

/**
 * The descriptors of one queue: who has which, how they are chained, how much the device may write.
 * Free ones form a queue, so that a device which completes in order meets them in order again, and
 * any other order is as right.
 */
export class DescriptorTable {
  readonly #words16: Uint16Array;
  readonly #words32: Uint32Array;
  readonly #size: number;
  readonly #mask: number;
  readonly #indirect: IndirectArea | undefined;
  readonly #indirectWords16: Uint16Array;
  readonly #indirectWords32: Uint32Array;

  readonly #state: Uint8Array;
  readonly #next: Int32Array;
  /** Bytes that the device may write to the chain with this head. */
  readonly #writable: Uint32Array;

  readonly #freeIds: Uint16Array;
  #firstFree = 0;
  #free = 0;

  constructor(
    words16: Uint16Array,
    words32: Uint32Array,
    size: number,
    indirect: IndirectArea | undefined,
  ) {
    this.#words16 = words16;
    this.#words32 = words32;
    this.#size = size;
    this.#mask = size - 1;
    this.#indirect = indirect;
    const bytes = indirect ? size * indirect.maxSegments * DESCRIPTOR_BYTES : 0;
    const buffer = indirect?.buffer ?? new ArrayBuffer(0);
    this.#indirectWords16 = new Uint16Array(buffer, indirect?.byteOffset ?? 0, bytes / 2);
    this.#indirectWords32 = new Uint32Array(buffer, indirect?.byteOffset ?? 0, bytes / 4);
    this.#state = new Uint8Array(size);
    this.#next = new Int32Array(size).fill(NONE);
    this.#writable = new Uint32Array(size);
    this.#freeIds = new Uint16Array(size);
  }

  get free(): number {
    return this.#free;
  }

  reset(): void {
    this.#state.fill(FREE);
    this.#next.fill(NONE);
    this.#writable.fill(0);
    for (let id = 0; id < this.#size; id++) this.#freeIds[id] = id;
    this.#firstFree = 0;
    this.#free = this.#size;
  }

  acquire(): number {
    if (this.#free === 0) return -1;
    const id = this.#freeIds[this.#firstFree] ?? 0;
    this.#firstFree = (this.#firstFree + 1) & this.#mask;
    this.#free--;
    this.#state[id] = OURS;
    return id;
  }

  /** Back to the end of the queue of free ones. */
  giveBack(id: number): void {
    if (this.#state[id] !== OURS) throw misuse.range('id', 'a descriptor that is acquired', id);
    this.#state[id] = FREE;
    this.#freeIds[(this.#firstFree + this.#free) & this.#mask] = id;
    this.#free++;
  }

  set(id: number, address: number, length: number, flags: number): void {
    const at = id * WORDS32;
    this.#words32[at] = address >>> 0;
    this.#words32[at + 1] = (address / 2 ** 32) >>> 0;
    this.#words32[at + LENGTH_32] = length;
    this.#words16[id * WORDS16 + FLAGS_16] = flags;
    this.#writable[id] = (flags & VRING_DESC_F_WRITE) === 0 ? 0 : length;
  }

  setLength(id: number, length: number): void {
    this.#words32[id * WORDS32 + LENGTH_32] = length;
    if (this.#writable[id] !== 0) this.#writable[id] = length;
  }

  link(id: number, next: number): void {
    this.#next[id] = next;
    const at = id * WORDS16;
    this.#words16[at + FLAGS_16] = (this.#words16[at + FLAGS_16] ?? 0) | VRING_DESC_F_NEXT;
    this.#words16[at + NEXT_16] = next;
  }

  next(id: number): number {
    return this.#next[id] ?? NONE;
  }

  addChain(segments: readonly Segment[]): number {
    checkSegments(segments);
    if (segments.length > this.#free) return -1;
    let head = NONE;
    let before = NONE;
    for (const segment of segments) {
      const id = this.acquire();
      this.set(id, segment.address, segment.length, segment.writable ? VRING_DESC_F_WRITE : 0);
      if (before === NONE) head = id;
      else this.link(before, id);
      before = id;
    }
    this.#writable[head] = writableBytes(segments);
    return head;
  }

  addIndirect(segments: readonly Segment[]): number {
    checkSegments(segments);
    const area = this.#indirect;
    const most = area?.maxSegments ?? 0;
    if (!area || segments.length > most) {
      throw misuse.range('segments', `at most ${String(most)} segments`, segments.length);
    }
    const head = this.acquire();
    if (head < 0) return -1;
    segments.forEach((segment, i) => {
      this.#writeIndirect(head * most + i, i, segment, i + 1 < segments.length);
    });
    const table = area.address + head * most * DESCRIPTOR_BYTES;
    // The table's own descriptor is neither chained nor writable: the spec forbids both.
    this.set(head, table, segments.length * DESCRIPTOR_BYTES, VRING_DESC_F_INDIRECT);
    this.#writable[head] = writableBytes(segments);
    return head;
  }

  #writeIndirect(entry: number, index: number, segment: Segment, more: boolean): void {
    const flags = (segment.writable ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0);
    const at = entry * WORDS32;
    this.#indirectWords32[at] = segment.address >>> 0;
    this.#indirectWords32[at + 1] = (segment.address / 2 ** 32) >>> 0;
    this.#indirectWords32[at + LENGTH_32] = segment.length;
    this.#indirectWords16[entry * WORDS16 + FLAGS_16] = flags;
    this.#indirectWords16[entry * WORDS16 + NEXT_16] = more ? index + 1 : 0;
  }

  markInFlight(head: number): void {
    if (this.#state[head] !== OURS)
      throw misuse.range('head', 'a descriptor that is acquired', head);
    this.#state[head] = IN_FLIGHT;
  }

  /** False also for a number that is no descriptor's. */
  isInFlight(head: number): boolean {
    return this.#state[head] === IN_FLIGHT;
  }

  /** The device gave the chain back: its head is ours again. */
  markTaken(head: number): void {
    this.#state[head] = OURS;
  }

  writable(head: number): number {
    return this.#writable[head] ?? 0;
  }

  /** Gives back a whole chain. Single descriptors keep their address, for who writes them once. */
  release(head: number): void {
    let next = this.#next[head] ?? NONE;
    this.giveBack(head);
    if (next === NONE) return;
    this.#unlink(head);
    while (next !== NONE) {
      const after = this.#next[next] ?? NONE;
      this.#unlink(next);
      this.giveBack(next);
      next = after;
    }
  }

  #unlink(id: number): void {
    this.#next[id] = NONE;
    const at = id * WORDS16 + FLAGS_16;
    this.#words16[at] = (this.#words16[at] ?? 0) & ~VRING_DESC_F_NEXT;
  }
}

/** As much as a used entry can tell: its length has 32 bits. */
function writableBytes(segments: readonly Segment[]): number {
  const sum = segments.reduce((total, { writable, length }) => total + (writable ? length : 0), 0);
  return Math.min(sum, 0xffffffff);
}

/** Spec: Virtio 1.3 §2.7.4.2 "Driver Requirements: Message Framing": readable parts come first. */
function checkSegments(segments: readonly Segment[]): void {
  if (segments.length === 0) throw misuse.range('segments', 'at least one segment', segments);
  const firstWritable = segments.findIndex((segment) => segment.writable);
  if (firstWritable >= 0 && segments.slice(firstWritable).some((segment) => !segment.writable)) {
    throw misuse.type('segments', 'readable segments first, then writable ones', segments);
  }
}
