import { needEvent } from './notifications.js';
import { DESCRIPTOR_BYTES, checkQueueSize } from './split-layout.js';
import { VhostError } from '../errors.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { loadAcquire, publishThenLoadFrom, storeRelease } from '../memory/ordering.js';
import {
  VRING_AVAIL_F_NO_INTERRUPT,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
} from '../uapi/virtio.js';

/** Where a driver laid a queue, and what was agreed on. */
export interface DeviceQueueOptions {
  /** What descriptors may name, and the rings lie in. */
  readonly memory: GuestMemory;
  /** Descriptors: a power of 2 in 1..32768. */
  readonly size: number;
  /** Guest addresses. */
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  /** Whether `VIRTIO_RING_F_EVENT_IDX` was agreed on. */
  readonly eventIdx: boolean;
  /** Whether `VIRTIO_RING_F_INDIRECT_DESC` was agreed on. */
  readonly indirect: boolean;
  /** Avail index of the first chain that nobody took. Default: 0. */
  readonly nextAvail?: number;
}

/** A chain that a driver offered: buffers in guest memory, which it may change at any moment. */
export interface DeviceChain {
  readonly head: number;
  /** What the device reads. */
  readonly readable: readonly Uint8Array[];
  /** What the device may write. */
  readonly writable: readonly Uint8Array[];
}

/** 16-bit words of an avail or a used ring. */
const FLAGS = 0;
const IDX = 1;
const RING = 2;

/**
 * The device's half of a split virtqueue over a guest's memory. Nothing in it is trusted: each field
 * is read once and checked before it is used, and a chain that is longer than the queue is a loop.
 *
 * Spec: Virtio 1.2 §2.7 "Split Virtqueues".
 */
export class DeviceQueue {
  readonly size: number;

  readonly #memory: GuestMemory;
  readonly #eventIdx: boolean;
  readonly #indirect: boolean;
  readonly #descriptors: DataView;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedView: DataView;
  #nextAvail: number;
  #nextUsed: number;

  /** @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: a part is misaligned, or not in one region. */
  constructor(options: DeviceQueueOptions) {
    const { memory, size, desc, avail, used } = options;
    checkQueueSize(size, 'size');
    this.size = size;
    this.#memory = memory;
    this.#eventIdx = options.eventIdx;
    this.#indirect = options.indirect;
    this.#descriptors = view(memory, desc, DESCRIPTOR_BYTES * size, DESCRIPTOR_BYTES);
    this.#avail = words(view(memory, avail, 6 + 2 * size, 2));
    this.#usedView = view(memory, used, 6 + 8 * size, 4);
    this.#used = words(this.#usedView);
    this.#nextAvail = options.nextAvail ?? 0;
    this.#nextUsed = loadAcquire(this.#used, IDX);
  }

  /**
   * Takes the next chain.
   *
   * @returns Undefined: none is there.
   * @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: what the driver wrote can't be true.
   */
  pop(): DeviceChain | undefined {
    const head = this.#nextHead();
    if (head === undefined) return undefined;
    const chain = { head, readable: [], writable: [] };
    this.#walk(this.#descriptors, this.size, head, chain);
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    return chain;
  }

  /**
   * Gives a chain back.
   *
   * @param length  Bytes written.
   * @returns Whether the driver wants an interrupt.
   */
  push(head: number, length: number): boolean {
    const at = 4 + 8 * (this.#nextUsed & (this.size - 1));
    this.#usedView.setUint32(at, head, true);
    this.#usedView.setUint32(at + 4, length, true);
    const old = this.#nextUsed;
    const fresh = (old + 1) & 0xffff;
    this.#nextUsed = fresh;
    // Pairs with the driver, which writes used_event (or the flag) and then reads used->idx again.
    const asked = this.#eventIdx ? RING + this.size : FLAGS;
    const wish = publishThenLoadFrom(this.#used, IDX, fresh, this.#avail, asked);
    return this.#eventIdx ? needEvent(wish, fresh, old) : (wish & VRING_AVAIL_F_NO_INTERRUPT) === 0;
  }

  /**
   * Gives the next chain back untouched and unread.
   *
   * @returns As {@link push}; undefined: there is none.
   * @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: its head is no descriptor.
   */
  skip(): boolean | undefined {
    const head = this.#nextHead();
    if (head === undefined) return undefined;
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    return this.push(head, 0);
  }

  /**
   * Asks for a notification at the next chain.
   *
   * @returns Whether one came meanwhile: then it has to be looked for again.
   */
  arm(): boolean {
    if (!this.#eventIdx) {
      storeRelease(this.#used, FLAGS, 0);
      return loadAcquire(this.#avail, IDX) !== this.#nextAvail;
    }
    const availEvent = RING + 4 * this.size;
    const next = this.#nextAvail;
    // Pairs with the driver, which stores avail->idx and then reads avail_event.
    return publishThenLoadFrom(this.#used, availEvent, next, this.#avail, IDX) !== next;
  }

  #nextHead(): number | undefined {
    const waiting = (loadAcquire(this.#avail, IDX) - this.#nextAvail) & 0xffff;
    if (waiting === 0) return undefined;
    if (waiting > this.size) throw corrupt(`${String(waiting)} chains in the avail ring`);
    const head = this.#avail[RING + (this.#nextAvail & (this.size - 1))] ?? 0xffff;
    if (head >= this.size) throw corrupt(`head ${String(head)}`);
    return head;
  }

  /** Follows a chain through a table, and on into an indirect one. */
  #walk(table: DataView, size: number, first: number, chain: Chain): void {
    let index = first;
    for (let count = 0; ; count++) {
      if (index >= size) throw corrupt(`descriptor ${String(index)} of ${String(size)}`);
      if (count >= size) throw corrupt('a chain that is a loop');
      const at = index * DESCRIPTOR_BYTES;
      const flags = table.getUint16(at + 12, true);
      const next = table.getUint16(at + 14, true);
      if ((flags & VRING_DESC_F_INDIRECT) !== 0) {
        this.#walkIndirect(table, at, flags, chain);
        return;
      }
      this.#addBuffer(table, at, flags, chain);
      if ((flags & VRING_DESC_F_NEXT) === 0) return;
      index = next;
    }
  }

  /** A table ends the chain, and has no tables in it. */
  #walkIndirect(table: DataView, at: number, flags: number, chain: Chain): void {
    const nested = table !== this.#descriptors;
    if (!this.#indirect || nested || (flags & VRING_DESC_F_NEXT) !== 0) {
      throw corrupt('an indirect table where none may be');
    }
    const length = table.getUint32(at + 8, true);
    const count = length / DESCRIPTOR_BYTES;
    if (!Number.isInteger(count) || count < 1 || count > this.size) {
      throw corrupt(`an indirect table of ${String(length)} bytes`);
    }
    this.#walk(view(this.#memory, addressAt(table, at), length, 1), count, 0, chain);
  }

  #addBuffer(table: DataView, at: number, flags: number, chain: Chain): void {
    const length = table.getUint32(at + 8, true);
    const { buffer, byteOffset } = view(this.#memory, addressAt(table, at), length, 1);
    const bytes = new Uint8Array(buffer, byteOffset, length);
    if ((flags & VRING_DESC_F_WRITE) !== 0) chain.writable.push(bytes);
    else if (chain.writable.length === 0) chain.readable.push(bytes);
    else throw corrupt('a buffer to read behind one to write');
  }
}

interface Chain {
  readonly readable: Uint8Array[];
  readonly writable: Uint8Array[];
}

/** No safe integer where a driver wrote one that is too large; no region has it then. */
function addressAt(table: DataView, at: number): number {
  return table.getUint32(at + 4, true) * 2 ** 32 + table.getUint32(at, true);
}

function view(memory: GuestMemory, address: number, length: number, alignment: number): DataView {
  const found = memory.translate(address, length);
  if (!found || found.offset % alignment !== 0) {
    throw corrupt(`${String(length)} bytes at 0x${address.toString(16)}`);
  }
  return new DataView(found.region.buffer, found.offset, length);
}

function words({ buffer, byteOffset, byteLength }: DataView): Uint16Array {
  return new Uint16Array(buffer as ArrayBuffer, byteOffset, byteLength / 2);
}

function corrupt(what: string): VhostError {
  return new VhostError('ERR_VHOST_QUEUE_CORRUPT', `the driver's queue can't be served: ${what}`);
}
