import { GuestMemory } from '../memory/guest-memory.js';
import { HEADER_SIZE } from '../ring/net-header.js';
import { splitLayout } from '../ring/split-layout.js';
import type { SplitLayout } from '../ring/split-layout.js';
import type { VringPlacement } from '../dataplane/queue-pair.js';
import { Pages, clearStrides, copyToStrides } from '../sys/pages.js';
import { allOrNothing } from '../undo.js';

/** Nothing that two CPUs write lies on one cache line, nor on the pair that is fetched together. */
const RING_ALIGN = 128;

/** Frames begin at whole words of this size in their slots, so that such can be copied. */
const FRAME_ALIGN = 16;

/** Where a frame begins in its slot: behind the header, which ends there. */
function payloadAtFor(headerSize: number): number {
  return Math.ceil(headerSize / FRAME_ALIGN) * FRAME_ALIGN;
}

/** A slot is whole cache lines, and an odd number of them: equal offsets spread over all cache sets. */
function strideFor(byteLength: number): number {
  const lines = Math.ceil(byteLength / 64);
  return 64 * (lines % 2 === 0 ? lines + 1 : lines);
}

/** The slots of one ring: slot *i* belongs to descriptor *i*. */
export class SlotArea {
  /** Bytes from one slot to the next. */
  readonly stride: number;
  /** Where a frame begins in its slot, in bytes. */
  readonly payloadAt: number;
  /** Where its header begins, in bytes: right before it. */
  readonly headerAt: number;
  /** Bytes that the first slot of a frame holds besides the header. */
  readonly capacity: number;
  /** Bytes that every further slot of a frame holds. */
  readonly tailCapacity: number;
  /** Per slot, where the frame begins: {@link capacity} bytes. Made once: views cost. */
  readonly payloads: readonly Uint8Array[];
  /** Per slot, what a further slot of a frame holds: {@link tailCapacity} bytes. */
  readonly tails: readonly Uint8Array[];
  /** The whole area as 16-bit words, for headers. */
  readonly words16: Uint16Array;
  readonly #bytes: Uint8Array;
  /** Whose area it is. */
  arena: Arena | undefined;
  /** Slots that devices read where they lie, on whichever rings. */
  out = 0;

  constructor(
    buffer: ArrayBuffer,
    byteOffset: number,
    readonly count: number,
    stride: number,
    readonly guestAddress: number,
    /** Bytes of the virtio-net header before each frame: 12 or 24. */
    readonly headerSize = HEADER_SIZE,
  ) {
    this.stride = stride;
    this.payloadAt = payloadAtFor(headerSize);
    this.headerAt = this.payloadAt - headerSize;
    this.capacity = stride - this.payloadAt;
    this.tailCapacity = stride - this.headerAt;
    const at = (slot: number, offset: number, length: number) =>
      new Uint8Array(buffer, byteOffset + slot * stride + offset, length);
    this.payloads = Array.from({ length: count }, (_, i) => at(i, this.payloadAt, this.capacity));
    this.tails = Array.from({ length: count }, (_, i) => at(i, this.headerAt, this.tailCapacity));
    this.words16 = new Uint16Array(buffer, byteOffset, (count * stride) / 2);
    this.#bytes = new Uint8Array(buffer, byteOffset, count * stride);
  }

  /** Copies frames of one length, one behind the other from `from` on, to `count` slots from `first` on. */
  fill(first: number, frames: Uint8Array, from: number, length: number, count: number): void {
    if (count === 0) return;
    const at = first * this.stride + this.payloadAt;
    copyToStrides(this.#bytes, at, this.stride, frames, from, length, count);
  }

  /**
   * Copies pieces of a frame, one behind the other, to where a slot's begins, and on over those behind it. `length`
   * bytes at the most: what another thread may make longer meanwhile must not reach the next frame.
   */
  copyTo(first: number, pieces: readonly Uint8Array[], length: number): void {
    let at = first * this.stride + this.payloadAt;
    const end = at + length;
    for (const piece of pieces) {
      const part = piece.subarray(0, end - at);
      this.#bytes.set(part, at);
      at += part.length;
    }
  }

  /** Frames of one length in `count` slots from `first` on, with what lies between them. */
  run(first: number, count: number, length: number): Uint8Array {
    const from = first * this.stride + this.payloadAt;
    return this.#bytes.subarray(from, from + (count - 1) * this.stride + length);
  }

  /** Makes the headers of `count` slots from `first` on those of complete frames: zeros. */
  clearHeaders(first: number, count: number): void {
    const at = first * this.stride + this.headerAt;
    clearStrides(this.#bytes, at, this.stride, this.headerSize, count);
  }

  /** The guest address that a descriptor for this slot names. */
  address(slot: number): number {
    return this.guestAddress + slot * this.stride + this.headerAt;
  }

  /** Where the header of a slot begins, as an index of {@link words16}. */
  headerWord(slot: number): number {
    return (slot * this.stride + this.headerAt) >> 1;
  }

  /** So many slots are out that they should come back: beyond, there may be none to receive in. */
  get pressing(): boolean {
    return this.out > 0 && this.out >= this.count >> 2;
  }

  /** Bytes of the longest frame that all slots together hold. */
  get total(): number {
    return this.capacity + (this.count - 1) * this.tailCapacity;
  }

  /** How many slots a frame of this length takes. */
  slotsFor(byteLength: number): number {
    const rest = byteLength - this.capacity;
    return rest <= 0 ? 1 : 1 + Math.ceil(rest / this.tailCapacity);
  }
}

/** Who reads an arena's slots besides its own port. */
export interface Borrower {
  /** The arena goes: nothing of it may be read any more when this has returned. */
  evict(arena: Arena): void;
  /** Gives back what it has read. */
  giveBack(): void;
  /** The same, and lets its device have at once what it has not shown it yet. */
  hasten(): void;
}

/** What the memory of a port is made for. */
export interface ArenaOptions {
  /** Descriptors of each ring. */
  readonly queueSize: number;
  /** Bytes of a frame that one slot must hold. */
  readonly slotPayload: number;
  /** Bytes of the virtio-net header before each frame: 12 or 24. Default: 12. */
  readonly headerSize?: number;
}

/** How many slots each ring has, and how far apart; bytes of the header in each. */
interface SlotShape {
  readonly queueSize: number;
  readonly stride: number;
  readonly headerSize: number;
}

/** One ring's place in the memory. */
export interface RingPlace {
  readonly byteOffset: number;
  readonly layout: SplitLayout;
}

/**
 * The memory of a port: one mapping for both rings, and one for the slots. Only the slots are in
 * vhost's memory table, so that no descriptor can name the rings.
 */
export class Arena {
  readonly memory: GuestMemory;
  readonly ringBuffer: ArrayBuffer;
  readonly receive: RingPlace;
  readonly transmit: RingPlace;
  readonly receiveSlots: SlotArea;
  readonly transmitSlots: SlotArea;

  readonly #rings: Pages;
  readonly #pool: Pages;
  readonly #queueSize: number;
  readonly #borrowers = new Set<Borrower>();

  static allocate(options: ArenaOptions): Arena {
    const { queueSize, slotPayload, headerSize = HEADER_SIZE } = options;
    const layout = splitLayout(queueSize);
    const stride = strideFor(payloadAtFor(headerSize) + slotPayload);
    return allOrNothing((undo) => {
      const rings = Pages.allocate({ byteLength: 2 * ringStride(layout) });
      undo.push(() => {
        rings.close();
      });
      const pool = Pages.allocate({ byteLength: 2 * queueSize * stride });
      undo.push(() => {
        pool.close();
      });
      return new Arena(rings, pool, { queueSize, stride, headerSize }, layout);
    });
  }

  private constructor(
    rings: Pages,
    pool: Pages,
    { queueSize, stride, headerSize }: SlotShape,
    layout: SplitLayout,
  ) {
    this.#rings = rings;
    this.#pool = pool;
    this.#queueSize = queueSize;
    this.ringBuffer = rings.buffer;
    this.receive = { byteOffset: 0, layout };
    this.transmit = { byteOffset: ringStride(layout), layout };
    const half = queueSize * stride;
    const { address: hostAddress, buffer } = pool;
    const guestAddress = takeGuestAddresses(2 * half);
    const slots = (at: number) =>
      new SlotArea(buffer, at, queueSize, stride, guestAddress + at, headerSize);
    this.receiveSlots = slots(0);
    this.transmitSlots = slots(half);
    this.receiveSlots.arena = this.transmitSlots.arena = this;
    this.memory = new GuestMemory([{ guestAddress, hostAddress, buffer, byteLength: 2 * half }]);
  }

  /** How the kernel finds a ring. */
  placement(place: RingPlace, base: number): VringPlacement {
    const start = this.#rings.address + BigInt(place.byteOffset);
    const { desc, avail, used } = place.layout;
    return {
      size: this.#queueSize,
      base,
      addresses: {
        desc: start + BigInt(desc),
        avail: start + BigInt(avail),
        used: start + BigInt(used),
      },
    };
  }

  /** Somebody else's device will read slots of this arena. */
  lendTo(borrower: Borrower): void {
    this.#borrowers.add(borrower);
  }

  /** It will not any more. */
  takeBackFrom(borrower: Borrower): void {
    this.#borrowers.delete(borrower);
  }

  /** Asks everybody for what they have read already: who sends nothing more does not look by himself. */
  recall(): void {
    for (const borrower of this.#borrowers) borrower.giveBack();
  }

  /** The same for who waits for it, and does nothing else meanwhile. */
  hasten(): void {
    for (const borrower of this.#borrowers) borrower.hasten();
  }

  /** @throws {VhostError} `ERR_VHOST_MEMORY_IN_USE`: the kernel may still use it. */
  close(): void {
    for (const borrower of [...this.#borrowers]) borrower.evict(this);
    this.memory.close();
    this.#pool.close();
    this.#rings.close();
  }
}

/** Guest addresses are each given out once: two ports' memories can then stand in one table. */
let nextGuestAddress = 0;

function takeGuestAddresses(byteLength: number): number {
  const from = nextGuestAddress;
  nextGuestAddress += Math.ceil(byteLength / 4096) * 4096;
  return from;
}

function ringStride(layout: SplitLayout): number {
  return Math.ceil(layout.byteLength / RING_ALIGN) * RING_ALIGN;
}
