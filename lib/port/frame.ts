import type { SlotArea } from './arena.js';
import { VhostError } from '../errors.js';
import { clearHeader, isTunnelled, readHeader, writeHeader } from '../ring/net-header.js';
import type { NetHeader } from '../ring/net-header.js';

const TOO_LATE =
  "hold() came after the frame's handler had returned: call it in the handler, or copy the bytes there";

/** What takes a frame's slots back. */
interface SlotOwner {
  /** How many of its frames are busy. */
  busyFrames: number;
  reclaim(frame: Frame): void;
}

/**
 * A received frame. It is *borrowed*: valid until the handler that got it returns, then its memory is
 * the kernel's again. {@link hold} keeps it until {@link release}.
 *
 * There is one object for each slot, made once and used again for every frame that comes there.
 */
export class Frame {
  /** Bytes of the frame, its virtio-net header not counted. */
  length = 0;
  /** @internal Of these, how many are in its first slot. */
  firstLength = 0;
  /** @internal How many further slots it spans. */
  extraCount = 0;
  /** @internal The further slots, and how many bytes each holds. */
  readonly extraSlots: number[] = [];
  /** @internal */
  readonly extraLengths: number[] = [];

  readonly #slots: SlotArea;
  readonly #owner: SlotOwner;
  #held = false;
  /** The view that was made last: frames of one length need no other. */
  #view: Uint8Array;
  /** How many devices are to read it where it lies. */
  #lent = 0;
  /** The handler has returned, and its slots did not go back. */
  #kept = false;

  /** @internal */
  constructor(
    slots: SlotArea,
    owner: SlotOwner,
    /** @internal The slot it begins in. */
    readonly slot: number,
  ) {
    this.#slots = slots;
    this.#owner = owner;
    this.first = slots.payloads[slot] ?? new Uint8Array(0);
    this.#view = this.first;
  }

  /**
   * The memory of the frame's first slot, longer than the frame: bytes 0 to `min(length,
   * first.length)` are its. Costs nothing.
   */
  readonly first: Uint8Array;

  /** @internal */
  get area(): SlotArea {
    return this.#slots;
  }

  /** Whether the frame lies in one piece, so that {@link bytes} is a view and no copy. */
  get contiguous(): boolean {
    return this.extraCount === 0;
  }

  /**
   * The frame's bytes: a view of the memory that the kernel wrote, or, when it spans several slots, a
   * copy in one piece.
   */
  get bytes(): Uint8Array {
    // After close() there is nothing to make a view of.
    if (this.first.length === 0) return this.first;
    if (this.extraCount === 0) return this.#view.length === this.length ? this.#view : this.#look();
    const copy = new Uint8Array(this.length);
    this.copyTo(copy);
    return copy;
  }

  #look(): Uint8Array {
    return (this.#view = this.first.subarray(0, this.length));
  }

  /** Copies the frame to the beginning of `target`, which must have room for {@link length} bytes. */
  copyTo(target: Uint8Array): void {
    let at = 0;
    for (const piece of this.pieces()) {
      target.set(piece, at);
      at += piece.length;
    }
  }

  /** @internal Views of the frame's bytes, one for each slot that it spans. */
  pieces(): Uint8Array[] {
    if (this.first.length === 0) return []; // after close(), see bytes
    const pieces = [this.first.subarray(0, Math.min(this.firstLength, this.length))];
    for (let i = 0; i < this.extraCount; i++) {
      const tail = this.#slots.tails[this.extraSlots[i] ?? 0];
      if (tail) pieces.push(tail.subarray(0, this.extraLengths[i]));
    }
    return pieces;
  }

  /** @internal Index of the header's first 16-bit word in the area. */
  get headerAt(): number {
    return this.#slots.headerWord(this.slot);
  }

  /** @internal Whether the header leaves nothing to finish: neither flags nor a GSO type. */
  get complete(): boolean {
    return this.#slots.words16[this.headerAt] === 0;
  }

  /** @internal Whether it is a long frame inside a UDP tunnel. */
  get tunnelled(): boolean {
    return isTunnelled((this.#slots.words16[this.headerAt] ?? 0) >> 8);
  }

  /** The virtio-net header that came with the frame: what of it is still unfinished. */
  get header(): NetHeader {
    return readHeader(this.#slots.words16, this.headerAt, this.#slots.headerSize);
  }

  /** @internal Writes another header before the frame. Undefined: that of a complete one. */
  writeHeader(header: Readonly<NetHeader> | undefined): void {
    const { words16, headerSize } = this.#slots;
    if (header === undefined) clearHeader(words16, this.headerAt, headerSize);
    else writeHeader(words16, this.headerAt, header, headerSize);
  }

  /** Whether somebody keeps it. */
  get held(): boolean {
    return this.#held;
  }

  /**
   * Keeps the frame's memory after the handler returns. Every held frame is one slot less to receive
   * in; with all slots held nothing is received.
   *
   * @throws {VhostError} `ERR_VHOST_STATE`: the handler has returned, and the memory went back.
   */
  hold(): this {
    // A frame has bytes: what has none went back, and another may come here.
    if (this.length === 0) throw new VhostError('ERR_VHOST_STATE', TOO_LATE);
    if (!this.busy) this.#owner.busyFrames++;
    this.#held = true;
    return this;
  }

  /** Gives a held frame's memory back. Its bytes are not to be looked at any more. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#giveBack();
  }

  /** @internal A device is to read it where it lies. */
  lend(): void {
    if (!this.busy) this.#owner.busyFrames++;
    this.#lent++;
  }

  /** @internal A device has read it. */
  takeBack(): void {
    this.#lent--;
    this.#giveBack();
  }

  /** @internal Whether its slots are not the receive ring's. */
  get busy(): boolean {
    return this.#held || this.#lent > 0;
  }

  /** @internal The handler has returned: whether the slots stay out. */
  settle(): boolean {
    this.#kept = this.busy;
    return this.#kept;
  }

  /** @internal The slots go back: nothing of the frame is left. */
  forget(): void {
    this.length = 0;
    if (this.extraCount > 0) this.extraCount = 0;
  }

  /** Within the handler that got it, the end of the handler takes the slots back. */
  #giveBack(): void {
    if (this.busy) return;
    this.#owner.busyFrames--;
    if (!this.#kept) return;
    this.#kept = false;
    this.#owner.reclaim(this);
  }
}
