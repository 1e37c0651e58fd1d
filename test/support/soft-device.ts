import type { GuestMemory } from '#lib/memory/guest-memory';
import { loadAcquire, publishThenLoad, storeRelease } from '#lib/memory/ordering';
import { needEvent } from '#lib/ring/notifications';
import { splitLayout } from '#lib/ring/split-layout';
import type { SplitLayout } from '#lib/ring/split-layout';
import {
  VRING_AVAIL_F_NO_INTERRUPT,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
  VRING_USED_F_NO_NOTIFY,
} from '#lib/uapi/virtio';

/** One buffer as the device sees it. */
export interface DeviceSegment {
  readonly address: number;
  readonly length: number;
  readonly writable: boolean;
}

/** A chain that the device took. */
export interface DeviceChain {
  readonly head: number;
  readonly segments: readonly DeviceSegment[];
}

/**
 * The device's half of a split virtqueue, over the same memory: what vhost does, without a kernel.
 * Deliberately written another way than the driver's half, through a DataView, so that a wrong offset
 * in one is not repeated in the other.
 */
export class SoftDevice {
  readonly layout: SplitLayout;

  readonly #view: DataView;
  readonly #words: Uint16Array;
  readonly #size: number;
  readonly #eventIdx: boolean;
  readonly #memory: GuestMemory | undefined;
  #nextAvail = 0;
  #nextUsed = 0;
  #signalled = 0;

  constructor(
    buffer: ArrayBuffer,
    byteOffset: number,
    size: number,
    options: { eventIdx: boolean; memory?: GuestMemory },
  ) {
    this.layout = splitLayout(size);
    this.#view = new DataView(buffer, byteOffset, this.layout.byteLength);
    this.#words = new Uint16Array(buffer, byteOffset, this.layout.byteLength >> 1);
    this.#size = size;
    this.#eventIdx = options.eventIdx;
    this.#memory = options.memory;
  }

  /** Lets go of the queue, which begins anew. */
  reset(): void {
    this.#nextAvail = this.#nextUsed = this.#signalled = 0;
  }

  /** Chains that the driver published and the device has not taken. */
  get waiting(): number {
    const idx = loadAcquire(this.#words, (this.layout.avail >> 1) + 1);
    return (idx - this.#nextAvail) & 0xffff;
  }

  /** Takes the next chain; undefined when none waits. */
  pop(): DeviceChain | undefined {
    if (this.waiting === 0) return undefined;
    const slot = this.#nextAvail % this.#size;
    const head = this.#view.getUint16(this.layout.avail + 4 + 2 * slot, true);
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    return { head, segments: this.#walk(this.#view, this.layout.desc, head, this.#size) };
  }

  /** Asks for a kick at the next chain; true when one came meanwhile. */
  armKicks(): boolean {
    const usedFlags = this.layout.used >> 1;
    const availIdx = (this.layout.avail >> 1) + 1;
    const idx = this.#eventIdx
      ? publishThenLoad(this.#words, this.layout.availEvent >> 1, this.#nextAvail, availIdx)
      : publishThenLoad(this.#words, usedFlags, 0, availIdx);
    return idx !== this.#nextAvail;
  }

  /** Wants no kicks. */
  disarmKicks(): void {
    if (this.#eventIdx) return; // an event that lies behind is not reached again
    storeRelease(this.#words, this.layout.used >> 1, VRING_USED_F_NO_NOTIFY);
  }

  /** Writes a used entry; not visible before {@link publish}. */
  push(head: number, length: number): void {
    const at = this.layout.used + 4 + 8 * (this.#nextUsed % this.#size);
    this.#view.setUint32(at, head, true);
    this.#view.setUint32(at + 4, length, true);
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
  }

  /** Shows every used entry; whether the driver wants a call. */
  publish(): boolean {
    const old = this.#signalled;
    const fresh = this.#nextUsed;
    const usedIdx = (this.layout.used >> 1) + 1;
    this.#signalled = fresh;
    if (this.#eventIdx) {
      const event = publishThenLoad(this.#words, usedIdx, fresh, this.layout.usedEvent >> 1);
      return old !== fresh && needEvent(event, fresh, old);
    }
    const flags = publishThenLoad(this.#words, usedIdx, fresh, this.layout.avail >> 1);
    return old !== fresh && (flags & VRING_AVAIL_F_NO_INTERRUPT) === 0;
  }

  /** Takes, and at once gives back, everything that waits; how many chains that were. */
  completeAll(lengthOf: (chain: DeviceChain) => number = () => 0): number {
    let count = 0;
    for (let chain = this.pop(); chain; chain = this.pop()) {
      this.push(chain.head, lengthOf(chain));
      count++;
    }
    if (count > 0) this.publish();
    return count;
  }

  /** The same of chains that it only reads: what each of them held. */
  takeAll(): Buffer[] {
    const held: Buffer[] = [];
    this.completeAll((chain) => {
      held.push(Buffer.from(this.read(chain)));
      return 0;
    });
    return held;
  }

  /** A hostile act: moves the used index without entries. */
  jump(by: number): void {
    this.#nextUsed = (this.#nextUsed + by) & 0xffff;
    this.publish();
  }

  /** The bytes that a chain's readable buffers hold. */
  read(chain: DeviceChain): Uint8Array {
    const parts = chain.segments.filter((one) => !one.writable).map((one) => this.#bytes(one));
    return Uint8Array.from(parts.flatMap((part) => [...part]));
  }

  /** Fills a chain's writable buffers, in order; how many bytes were written. */
  write(chain: DeviceChain, bytes: Uint8Array): number {
    let at = 0;
    for (const segment of chain.segments.filter((one) => one.writable)) {
      const part = bytes.subarray(at, at + segment.length);
      this.#bytes(segment).set(part);
      at += part.length;
    }
    return at;
  }

  #bytes(segment: DeviceSegment): Uint8Array {
    const found = this.#memory?.translate(segment.address, segment.length);
    if (!found) throw new Error(`no memory behind guest address ${String(segment.address)}`);
    return new Uint8Array(found.region.buffer, found.offset, segment.length);
  }

  #walk(view: DataView, table: number, first: number, most: number): DeviceSegment[] {
    const segments: DeviceSegment[] = [];
    for (let id = first, steps = 0; ; steps++) {
      if (steps === most) throw new Error('the chain has a loop');
      const at = table + 16 * id;
      const address = Number(view.getBigUint64(at, true));
      const length = view.getUint32(at + 8, true);
      const flags = view.getUint16(at + 12, true);
      if ((flags & VRING_DESC_F_INDIRECT) !== 0) {
        if ((flags & VRING_DESC_F_NEXT) !== 0) throw new Error('INDIRECT and NEXT together');
        return [...segments, ...this.#walkIndirect(address, length)];
      }
      segments.push({ address, length, writable: (flags & VRING_DESC_F_WRITE) !== 0 });
      if ((flags & VRING_DESC_F_NEXT) === 0) return segments;
      id = view.getUint16(at + 14, true);
    }
  }

  #walkIndirect(address: number, length: number): DeviceSegment[] {
    const found = this.#memory?.translate(address, length);
    if (!found || length % 16 !== 0) throw new Error('no table behind an indirect descriptor');
    const view = new DataView(found.region.buffer, found.offset, length);
    return this.#walk(view, 0, 0, length / 16);
  }
}
