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

/** Ends a chain. */
const NONE = -1;

/**
 * What is written in the descriptors of one queue: how they are chained, how much the device may
 * write. Kept here besides: what lies in shared memory is not to be trusted.
 */
export class DescriptorTable {
  readonly #size: number;
  readonly #words16: Uint16Array;
  readonly #words32: Uint32Array;
  readonly #indirect: IndirectArea | undefined;
  readonly #indirectWords16: Uint16Array;
  readonly #indirectWords32: Uint32Array;

  readonly #next: Int32Array;
  /** Bytes that the device may write to the chain with this head. */
  readonly #writable: Uint32Array;
  /** Descriptors that got one length, one place after the other, and which length. */
  #alike = 0;
  #length = 0;

  constructor(
    words16: Uint16Array,
    words32: Uint32Array,
    size: number,
    indirect: IndirectArea | undefined,
  ) {
    this.#size = size;
    this.#words16 = words16;
    this.#words32 = words32;
    this.#indirect = indirect;
    const bytes = indirect ? size * indirect.maxSegments * DESCRIPTOR_BYTES : 0;
    const buffer = indirect?.buffer ?? new ArrayBuffer(0);
    this.#indirectWords16 = new Uint16Array(buffer, indirect?.byteOffset ?? 0, bytes / 2);
    this.#indirectWords32 = new Uint32Array(buffer, indirect?.byteOffset ?? 0, bytes / 4);
    this.#next = new Int32Array(size).fill(NONE);
    this.#writable = new Uint32Array(size);
  }

  reset(): void {
    this.#next.fill(NONE);
    this.#writable.fill(0);
    this.#alike = 0;
  }

  /** The length of every descriptor, where {@link setNextLength} gave all of them the same; else -1. */
  get uniformLength(): number {
    return this.#alike === this.#size ? this.#length : -1;
  }

  /** Changes the length of the descriptor in the place behind the one that was set last. */
  setNextLength(id: number, length: number): void {
    if (length !== this.#length) {
      this.#length = length;
      this.#alike = 0;
    } else if (this.#alike === this.#size) return; // it has that length
    this.#alike++;
    this.#words32[id * WORDS32 + LENGTH_32] = length;
    if (this.#writable[id] !== 0) this.#writable[id] = length;
  }

  /** The next to be set is not in the place behind the last, or has another descriptor there. */
  breakOff(): void {
    if (this.#alike < this.#size) this.#alike = 0;
  }

  set(id: number, address: number, length: number, flags: number): void {
    this.#alike = 0;
    const at = id * WORDS32;
    this.#words32[at] = address >>> 0;
    this.#words32[at + 1] = (address / 2 ** 32) >>> 0;
    this.#words32[at + LENGTH_32] = length;
    this.#words16[id * WORDS16 + FLAGS_16] = flags;
    this.#writable[id] = (flags & VRING_DESC_F_WRITE) === 0 ? 0 : length;
  }

  setLength(id: number, length: number): void {
    this.#alike = 0;
    this.#words32[id * WORDS32 + LENGTH_32] = length;
    if (this.#writable[id] !== 0) this.#writable[id] = length;
  }

  attach(id: number, next: number): void {
    this.#next[id] = next;
  }

  link(id: number, next: number): void {
    this.attach(id, next);
    const at = id * WORDS16;
    this.#words16[at + FLAGS_16] = (this.#words16[at + FLAGS_16] ?? 0) | VRING_DESC_F_NEXT;
    this.#words16[at + NEXT_16] = next;
  }

  next(id: number): number {
    return this.#next[id] ?? NONE;
  }

  /** Writes one segment to each of `ids`, which become a chain. */
  writeChain(ids: readonly number[], segments: readonly Segment[]): void {
    segments.forEach((segment, i) => {
      const id = ids[i] ?? 0;
      this.set(id, segment.address, segment.length, segment.writable ? VRING_DESC_F_WRITE : 0);
      if (i > 0) this.link(ids[i - 1] ?? 0, id);
    });
    this.#writable[ids[0] ?? 0] = writableBytes(segments);
  }

  /** @throws {RangeError} More segments than an indirect table has room for. */
  checkIndirect(segments: readonly Segment[]): void {
    checkSegments(segments);
    const most = this.#maxIndirect;
    if (segments.length <= most) return;
    throw misuse.range('segments', `at most ${String(most)} segments`, segments.length);
  }

  get #maxIndirect(): number {
    return this.#indirect?.maxSegments ?? 0;
  }

  /** Writes the indirect table of `head`, and makes the descriptor name it. */
  writeIndirect(head: number, segments: readonly Segment[]): void {
    const most = this.#maxIndirect;
    segments.forEach((segment, i) => {
      this.#writeEntry(head * most + i, i, segment, i + 1 < segments.length);
    });
    const table = (this.#indirect?.address ?? 0) + head * most * DESCRIPTOR_BYTES;
    // The table's own descriptor is neither chained nor writable: the spec forbids both.
    this.set(head, table, segments.length * DESCRIPTOR_BYTES, VRING_DESC_F_INDIRECT);
    this.#writable[head] = writableBytes(segments);
  }

  #writeEntry(entry: number, index: number, segment: Segment, more: boolean): void {
    const flags = (segment.writable ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0);
    const at = entry * WORDS32;
    this.#indirectWords32[at] = segment.address >>> 0;
    this.#indirectWords32[at + 1] = (segment.address / 2 ** 32) >>> 0;
    this.#indirectWords32[at + LENGTH_32] = segment.length;
    this.#indirectWords16[entry * WORDS16 + FLAGS_16] = flags;
    this.#indirectWords16[entry * WORDS16 + NEXT_16] = more ? index + 1 : 0;
  }

  writable(head: number): number {
    return this.#writable[head] ?? 0;
  }

  /** Takes `id` out of its chain; the descriptor that was after it, -1 when there was none. */
  unlink(id: number): number {
    const next = this.next(id);
    if (next === NONE) return NONE;
    this.#next[id] = NONE;
    const at = id * WORDS16 + FLAGS_16;
    this.#words16[at] = (this.#words16[at] ?? 0) & ~VRING_DESC_F_NEXT;
    return next;
  }
}

/** As much as a used entry can tell: its length has 32 bits. */
function writableBytes(segments: readonly Segment[]): number {
  const sum = segments.reduce((total, { writable, length }) => total + (writable ? length : 0), 0);
  return Math.min(sum, 0xffffffff);
}

/** Spec: Virtio 1.3 §2.7.4.2 "Driver Requirements: Message Framing": readable parts come first. */
export function checkSegments(segments: readonly Segment[]): void {
  if (segments.length === 0) throw misuse.range('segments', 'at least one segment', segments);
  const firstWritable = segments.findIndex((segment) => segment.writable);
  if (firstWritable >= 0 && segments.slice(firstWritable).some((segment) => !segment.writable)) {
    throw misuse.type('segments', 'readable segments first, then writable ones', segments);
  }
}
