import type { DriverQueuePlace } from './virtio-device.js';
import { VhostError } from '../errors.js';
import type { GuestMemory } from '../memory/guest-memory.js';
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

function hostAddress(memory: GuestMemory, queue: number, part: Part): bigint {
  const { name, address, byteLength, alignment } = part;
  const found = address % alignment === 0 ? memory.translate(address, byteLength) : undefined;
  if (found) return found.region.hostAddress + BigInt(found.offset);
  const what = `${name} of queue ${String(queue)} at 0x${address.toString(16)}`;
  throw new VhostError(
    'ERR_VHOST_QUEUE_CORRUPT',
    `${what}: ${String(byteLength)} bytes, ${String(alignment)}-aligned, in one region of memory`,
  );
}
