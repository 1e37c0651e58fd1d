import type { DriverQueuePlace } from './virtio-device.js';
import { VhostError } from '../errors.js';
import type { RingPlace, RingProgress } from '../dataplane/repair.js';
import type { GuestMemory, Translation } from '../memory/guest-memory.js';
import { loadAcquire } from '../memory/ordering.js';
import type { VringAddresses } from '../sys/vhost-net.js';

/** A part of a ring: what a message calls it, where it is, how it has to lie. */
interface Part {
  readonly name: string;
  readonly address: number;
  readonly byteLength: number;
  readonly alignment: number;
}

/** Bytes of each part, the fields for event suppression included. Virtio 1.2 §2.7 "Split Virtqueues". */
function parts({ size, desc, avail, used }: DriverQueuePlace): Record<keyof VringParts, Part> {
  return {
    desc: { name: 'descriptor table', address: desc, byteLength: 16 * size, alignment: 16 },
    avail: { name: 'avail ring', address: avail, byteLength: 6 + 2 * size, alignment: 2 },
    used: { name: 'used ring', address: used, byteLength: 6 + 8 * size, alignment: 4 },
  };
}

type VringParts = Pick<VringAddresses, 'desc' | 'avail' | 'used'>;

/**
 * Where the parts of a ring lie in this process. The kernel is told addresses of ours, not of the
 * guest's, and goes on from the first byte: so each part has to lie in one region as a whole.
 *
 * @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: it does not, or is misaligned.
 */
export function ringAddresses(memory: GuestMemory, place: DriverQueuePlace): VringAddresses {
  const { desc, avail, used } = parts(place);
  const at = (part: Part) => hostAddress(memory, place.index, part);
  return { desc: at(desc), avail: at(avail), used: at(used) };
}

/** How far a ring of a guest has come, seen from outside while the worker serves it. */
export class RingIndices {
  readonly #size: number;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;

  /** @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: the ring lies where none can. */
  constructor(memory: GuestMemory, place: DriverQueuePlace) {
    const { avail, used } = parts(place);
    this.#size = place.size;
    this.#avail = index(memory, place.index, avail);
    this.#used = index(memory, place.index, used);
  }

  /** The ring for who only looks. */
  get place(): RingPlace {
    return {
      avail: { words: this.#avail, at: 0 },
      used: { words: this.#used, at: 0 },
      size: this.#size,
    };
  }

  /** The used index; runs free over 16 bits. */
  get used(): number {
    return loadAcquire(this.#used, 0);
  }

  /** @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: more chains wait than there can be. */
  progress(): RingProgress {
    return ringProgress(
      this.#size,
      () => this.used,
      () => loadAcquire(this.#avail, 0),
    );
  }
}

/**
 * What two indices come to that others go on moving: between the two looks a worker may use more chains,
 * and a driver offer as many again. Only what stands still can be judged.
 *
 * @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: more chains wait than there can be.
 */
export function ringProgress(size: number, used: () => number, avail: () => number): RingProgress {
  const before = used();
  const waiting = (avail() - before) & 0xffff;
  const now = used();
  if (waiting <= size) return { waiting, used: before };
  if (now !== before) return { waiting: size, used: now };
  throw corrupt(`${String(waiting)} chains wait in a ring of ${String(size)}`);
}

/** The index of an avail or a used ring: both have it behind the flags. */
function index(memory: GuestMemory, queue: number, part: Part): Uint16Array {
  const { region, offset } = locate(memory, queue, part);
  return new Uint16Array(region.buffer, offset + 2, 1);
}

function hostAddress(memory: GuestMemory, queue: number, part: Part): bigint {
  const { region, offset } = locate(memory, queue, part);
  return region.hostAddress + BigInt(offset);
}

function locate(memory: GuestMemory, queue: number, part: Part): Translation {
  const { name, address, byteLength, alignment } = part;
  const found = address % alignment === 0 ? memory.translate(address, byteLength) : undefined;
  if (found && found.offset % alignment === 0) return found;
  const what = `${name} of queue ${String(queue)} at 0x${address.toString(16)}`;
  const must = `${String(byteLength)} bytes, ${String(alignment)}-aligned, in one region of memory`;
  throw corrupt(`${what} must be ${must}`);
}

function corrupt(what: string): VhostError {
  return new VhostError('ERR_VHOST_QUEUE_CORRUPT', what);
}
