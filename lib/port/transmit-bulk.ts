import { MIN_FRAME } from './frame-limits.js';
import type { Transmitter, WriteRun } from './transmit.js';
import { misuse } from '../errors.js';
import type { DriverQueue } from '../ring/driver-queue.js';

/** Frames after which the worker gets them although the caller goes on: it works while we do. */
export const BATCH = 32;

/**
 * Frames that are copied, or written in place, at once: a step is to be paid for by many. A worker that
 * has nothing to do gets the first of them sooner; one that is busy takes many times as long for each.
 */
const STEP = { least: 4 * BATCH, most: 32 * BATCH, forEachInFlight: 4 } as const;

/** Bytes of one call: they are counted in 32 bits. */
const LONGEST = 0xffffffff;

/** Frames of one call of `sendInPlace`: they are counted in 31 bits. */
const MAX_COUNT = 0x7fffffff;

/**
 * Frames of one length, one behind the other in one buffer. The cheapest way to send frames that are
 * there already: all of a call are copied together.
 */
export interface PackedFrames {
  /** Whole frames. */
  readonly bytes: Uint8Array;
  /** Bytes of each frame; 14 to what one slot holds, and no longer than a plain frame may be. */
  readonly frameLength: number;
}

/** The transmit path that frames go by. */
export interface BulkPath {
  /** @throws {VhostError} `ERR_VHOST_CLOSED`. */
  checkOpen(): void;
  send(bytes: Uint8Array): boolean;
  /** Takes back what is completed. Whether so many slots are free now; else asks to be told when there is room. */
  makeRoom(slots: number): boolean;
  /** Frames were offered, of so many bytes altogether. */
  offered(byteLength: number): void;
  /** Whether frames may go by the shortest way: it asks nobody whether they may. */
  allowShort(allow: boolean): void;
}

/** Sends many frames with one call. */
export class BulkTransmit {
  readonly #queue: DriverQueue;
  readonly #transmitter: Transmitter;
  readonly #path: BulkPath;

  constructor(queue: DriverQueue, transmitter: Transmitter, path: BulkPath) {
    this.#queue = queue;
    this.#transmitter = transmitter;
    this.#path = path;
  }

  /** @returns How many were taken, from the first on. */
  send(frames: readonly Uint8Array[] | PackedFrames): number {
    if (!Array.isArray(frames)) return this.#sendPacked(frames as PackedFrames);
    let taken = 0;
    for (const frame of frames as readonly Uint8Array[]) {
      if (!this.#path.send(frame)) break;
      taken++;
    }
    return taken;
  }

  #sendPacked(frames: PackedFrames): number {
    const { bytes, length, count } = checkPacked(frames);
    this.#path.checkOpen();
    this.#checkLength(length);
    let done = 0;
    while (done < count && this.#hasRoom(count - done)) {
      const most = this.#step(count - done);
      if (this.#transmitter.copyToRun(bytes, done * length, length, most)) {
        this.#queue.offerRun(most);
        this.#path.offered(most * length);
      } else this.#sendEach(bytes.subarray(done * length, (done + most) * length), length);
      done += most;
    }
    return done;
  }

  /** One by one, for which there is room: from then on their slots are ready for a run. */
  #sendEach(bytes: Uint8Array, length: number): void {
    for (let at = 0; at < bytes.length; at += length) {
      this.#transmitter.putShort(bytes.subarray(at, at + length), length);
      this.#path.offered(length);
    }
  }

  /** @returns How many were sent. */
  sendInPlace(count: number, length: number, write: WriteRun): number {
    this.#path.checkOpen();
    checkInPlace(count, write);
    this.#checkLength(length);
    let done = 0;
    while (done < count && this.#hasRoom(count - done)) {
      const most = this.#step(count - done);
      done += this.#writeRun(most, length, done, write);
    }
    return done;
  }

  #writeRun(most: number, length: number, index: number, write: WriteRun): number {
    this.#path.allowShort(false);
    let written: number;
    try {
      written = this.#transmitter.putWritten(most, length, index, write);
    } finally {
      this.#path.allowShort(true);
    }
    this.#path.checkOpen();
    if (written > 0) this.#path.offered(written * length);
    return written;
  }

  #step(wanted: number): number {
    const { free, inFlight } = this.#queue;
    const busy = Math.min(STEP.most, inFlight * STEP.forEachInFlight);
    return Math.min(wanted, free, Math.max(STEP.least, busy));
  }

  #checkLength(length: number): void {
    this.#transmitter.accept(length, undefined);
    this.#transmitter.checkOneSlot(length);
  }

  /**
   * Whether to go on. Not for a few slots at a time, as the device gives them back: a step would be paid
   * for by few frames.
   */
  #hasRoom(wanted: number): boolean {
    const { free, inFlight } = this.#queue;
    const few = Math.max(1, Math.min(wanted, BATCH, (free + inFlight) >> 2));
    return free >= few || this.#path.makeRoom(few);
  }
}

/** Each property is read once: what is checked is what is used. */
function checkPacked(frames: PackedFrames): { bytes: Uint8Array; length: number; count: number } {
  const { bytes, frameLength = 0 } = (frames as Partial<PackedFrames> | undefined) ?? {};
  if (!(bytes instanceof Uint8Array) || bytes.length > LONGEST) {
    const expected = `an array of Uint8Array, or { bytes, frameLength } of at most ${String(LONGEST)} bytes`;
    throw misuse.type('frames', expected, frames);
  }
  const fits = Number.isInteger(frameLength) && frameLength >= MIN_FRAME;
  if (!fits || bytes.length % frameLength !== 0) {
    throw misuse.range('frameLength', 'the length of whole frames in bytes', frameLength);
  }
  return { bytes, length: frameLength, count: bytes.length / frameLength };
}

function checkInPlace(count: number, write: WriteRun): void {
  if (!Number.isInteger(count) || count < 0 || count > MAX_COUNT) {
    throw misuse.range('count', `an integer in 0..${String(MAX_COUNT)}`, count);
  }
  if (typeof write !== 'function') throw misuse.type('write', 'a function', write);
}
