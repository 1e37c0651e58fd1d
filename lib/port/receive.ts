import type { SlotArea } from './arena.js';
import { Frame } from './frame.js';
import type { DriverQueue } from '../ring/driver-queue.js';
import { bufferCount, NUM_BUFFERS } from '../ring/net-header.js';
import { VRING_DESC_F_WRITE } from '../uapi/virtio.js';

/** What a recycled slot is filled with when stale views are hunted. */
export const POISON = 0xdb;

/**
 * Frames that arrived together, in the order of their arrival. Valid, as the frames in it, until the
 * handler that got it returns.
 */
export class ReceiveBatch implements Iterable<Frame> {
  /** How many frames there are. */
  length = 0;
  /** Their bytes, virtio-net headers not counted. */
  byteLength = 0;

  /** @internal Of these, {@link length} are of the batch. */
  readonly frames: Frame[] = [];

  /** @internal */
  constructor(
    /** The port's queue that they came by; the first is 0. */
    readonly queue: number,
  ) {}

  /** @throws {RangeError} There is no such frame. */
  at(index: number): Frame {
    const frame = index < this.length ? this.frames[index] : undefined;
    if (frame === undefined)
      throw new RangeError(`no frame ${String(index)} in ${String(this.length)}`);
    return frame;
  }

  /** @internal */
  add(frame: Frame): void {
    this.frames[this.length++] = frame;
    this.byteLength += frame.length;
  }

  /** @internal The slots of all frames go back. */
  forget(): void {
    for (let i = 0; i < this.length; i++) this.frames[i]?.forget();
  }

  /** @internal */
  clear(): void {
    this.length = 0;
    this.byteLength = 0;
  }

  /** The frames, from the first to arrive on. What `next()` returns is one object, which the next call changes. */
  [Symbol.iterator](): Iterator<Frame> {
    return new FrameIterator(this.frames, this);
  }
}

/** A result for each frame would be one object for each frame: that costs more than to look at it. */
class FrameIterator implements Iterator<Frame> {
  done = false;
  value: Frame | undefined;
  private index = 0;

  constructor(
    private readonly frames: readonly Frame[],
    private readonly batch: ReceiveBatch,
  ) {}

  next(): IteratorResult<Frame> {
    const { index } = this;
    if (index < this.batch.length) {
      this.index = (index + 1) | 0;
      this.value = this.frames[index];
    } else {
      this.done = true;
      this.value = undefined;
    }
    return this as IteratorResult<Frame>;
  }
}

/** Posts the slots of a receive ring, turns used ones into frames, and posts them again. */
export class Receiver {
  /** Frames that the caller keeps. */
  held = 0;
  /** The same, with those of a batch that is being handled. */
  busyFrames = 0;

  readonly #queue: DriverQueue;
  readonly #slots: SlotArea;
  readonly #headerSize: number;
  readonly #frames: readonly Frame[];
  readonly #poison: boolean;
  readonly #onRelease: () => void;
  /** What is left of the slots that were taken at once. */
  #rowNext = 0;
  #rowEnd = 0;

  /** @param onRelease  A held frame's slots were offered again, and are to be published. */
  constructor(queue: DriverQueue, slots: SlotArea, poison: boolean, onRelease: () => void) {
    this.#queue = queue;
    this.#slots = slots;
    this.#headerSize = slots.headerSize;
    this.#poison = poison;
    this.#onRelease = onRelease;
    this.#frames = Array.from({ length: slots.count }, (_, slot) => new Frame(slots, this, slot));
    this.#postAll([]);
  }

  /** Whether the device has given back every buffer that it took, up to this avail index. */
  complete(base: number): boolean {
    try {
      return ((this.#queue.nextUsed + this.#queue.poll()) & 0xffff) === base;
    } catch {
      return false;
    }
  }

  /** Begins anew with a ring that the device does not use. Frames that are held stay so, and those of a batch. */
  restart(batch: ReceiveBatch): void {
    this.#queue.reset();
    this.#postAll(batch);
  }

  /** Moves up to `most` frames into the batch. */
  collect(batch: ReceiveBatch, most: number): void {
    const queue = this.#queue;
    const room = this.#headerSize + this.#slots.capacity;
    this.#rowNext = this.#rowEnd = 0; // nothing is left of a row in which something could not be true
    queue.poll();
    while (batch.length < most) {
      const count = queue.takeRow(most - batch.length, room);
      if (count > 0) {
        this.#receiveRow(batch, queue.rowStart, count);
        continue;
      }
      const slot = queue.take();
      if (slot < 0) return;
      this.#receive(batch, slot, queue.takenLength);
    }
  }

  /** Slots that follow one another. */
  #receiveRow(batch: ReceiveBatch, first: number, count: number): void {
    this.#rowEnd = first + count;
    this.#rowNext = first;
    while (this.#rowNext < this.#rowEnd) {
      const slot = this.#receiveShort(batch, this.#rowNext, this.#rowEnd);
      this.#rowNext = slot + 1;
      if (slot < this.#rowEnd) this.#receive(batch, slot, this.#queue.usedLength(slot));
    }
  }

  /**
   * Frames of one slot each, up to one that is none, or can't be true. All of them go through this loop:
   * numbers of 32 bits, no call, and nothing asked of an object that can be asked before are a third of the
   * instructions.
   *
   * @returns The slot of the first that it left; `end`: there is none.
   */
  #receiveShort(batch: ReceiveBatch, first: number, end: number): number {
    const { frames: into } = batch;
    const { words, at } = this.#queue.usedLengths;
    const { words16, stride } = this.#slots;
    const frames = this.#frames;
    const headerSize = this.#headerSize | 0;
    const most = (headerSize + this.#slots.capacity) | 0;
    const step = stride >> 1;
    let bufferCountAt = (this.#slots.headerWord(first) + NUM_BUFFERS) | 0;
    let bytes = 0;
    let next = batch.length | 0;
    let slot = first | 0;
    for (; slot < end; slot = (slot + 1) | 0) {
      const frame = frames[slot];
      const used = (words[(at + 2 * slot) | 0] ?? 0) | 0;
      if (frame === undefined || used < headerSize || used > most) break;
      if ((words16[bufferCountAt] ?? 0) > 1) break;
      bufferCountAt = (bufferCountAt + step) | 0;
      const length = (used - headerSize) | 0;
      frame.firstLength = length;
      frame.length = length;
      into[next] = frame;
      next = (next + 1) | 0;
      bytes = (bytes + length) | 0;
    }
    batch.length = next;
    batch.byteLength += bytes;
    return slot;
  }

  /** Offers the slots of every frame that is not held. */
  recycle(batch: ReceiveBatch): void {
    if (this.busyFrames > 0 || this.#poison) {
      this.#recycleEach(batch);
    } else {
      this.#queue.offerTaken();
      batch.forget();
    }
    batch.clear();
  }

  #recycleEach(batch: ReceiveBatch): void {
    for (let i = 0; i < batch.length; i++) {
      const frame = batch.at(i);
      if (frame.settle()) this.held++;
      else this.#repost(frame);
    }
  }

  /** A held frame was released. */
  reclaim(frame: Frame): void {
    this.held--;
    this.#repost(frame);
    this.#onRelease();
  }

  #postAll(others: Iterable<Frame>): void {
    const held = this.#heldSlots(others);
    const length = this.#headerSize + this.#slots.capacity;
    for (let slot = 0; slot < this.#slots.count; slot++) {
      this.#queue.setDescriptor(slot, this.#slots.address(slot), length, VRING_DESC_F_WRITE);
      if (held.has(slot)) this.#queue.claim(slot);
      else this.#frames[slot]?.forget(); // one that was half received has further slots still
    }
    while (this.#queue.offerNext(length) >= 0);
  }

  #heldSlots(others: Iterable<Frame>): Set<number> {
    const kept = [...this.#frames.filter((frame) => frame.busy), ...others];
    return new Set(kept.flatMap((one) => [one.slot, ...one.extraSlots.slice(0, one.extraCount)]));
  }

  #receive(batch: ReceiveBatch, slot: number, used: number): void {
    const frame = this.#frames[slot];
    if (frame === undefined || used < this.#headerSize)
      this.#queue.fail(`a frame of ${String(used)} bytes`);
    frame.firstLength = used - this.#headerSize;
    frame.length = frame.firstLength;
    const buffers = bufferCount(this.#slots.words16, frame.headerAt);
    if (buffers > 1) this.#gather(frame, buffers);
    batch.add(frame);
  }

  /** The kernel shows all buffers of a frame with one step of the used index. */
  #gather(frame: Frame, buffers: number): void {
    for (let i = 1; i < buffers; i++) {
      const isInRow = this.#rowNext < this.#rowEnd;
      const slot = isInRow ? this.#rowNext++ : this.#queue.take();
      if (slot < 0) this.#queue.fail(`num_buffers ${String(buffers)} with ${String(i)} used`);
      const length = isInRow ? this.#queue.usedLength(slot) : this.#queue.takenLength;
      frame.extraSlots[frame.extraCount] = slot;
      frame.extraLengths[frame.extraCount++] = length;
      frame.length += length;
    }
  }

  #repost(frame: Frame): void {
    if (this.#poison) this.#fill(frame);
    this.#queue.offer(frame.slot);
    for (let i = 0; i < frame.extraCount; i++) this.#queue.offer(frame.extraSlots[i] ?? 0);
    frame.forget();
  }

  #fill(frame: Frame): void {
    frame.first.fill(POISON);
    for (let i = 0; i < frame.extraCount; i++) {
      this.#slots.tails[frame.extraSlots[i] ?? 0]?.fill(POISON);
    }
  }
}
