import {
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
  VIRTIO_NET_F_CTRL_MAC_ADDR,
  VIRTIO_NET_F_CTRL_RX,
  VIRTIO_NET_F_CTRL_VQ,
  VIRTIO_NET_F_GUEST_ANNOUNCE,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_USO,
  VIRTIO_NET_F_MAC,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_NET_F_MTU,
  VIRTIO_NET_F_SPEED_DUPLEX,
  VIRTIO_NET_F_STATUS,
} from '../uapi/virtio-net.js';
import {
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_RING_F_INDIRECT_DESC,
  bit,
  has,
} from '../uapi/virtio.js';

const set = (bits: readonly number[]) => bits.reduce((all, one) => all | bit(one), 0n);

/**
 * What of vhost's features a guest may use. Not `IN_ORDER`: after a pause vhost would go on with the
 * wrong descriptor where a chain has several; not bit 27 (`ANY_LAYOUT` to a driver, "make the header
 * yourself" to vhost), not `ACCESS_PLATFORM`, nor what is for migration or for drivers before 1.0.
 */
const FROM_VHOST = set([
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_RING_F_INDIRECT_DESC,
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_F_VERSION_1,
]);

/** What the device model does itself, of which vhost and tap know nothing. */
const OURS = set([
  VIRTIO_NET_F_MAC,
  VIRTIO_NET_F_STATUS,
  VIRTIO_NET_F_MTU,
  VIRTIO_NET_F_SPEED_DUPLEX,
  // vhost's part of it is to stop and start a ring, which every kernel can.
  VIRTIO_F_RING_RESET,
]);

/** The same, with a control queue. */
const CONTROLLED = set([
  VIRTIO_NET_F_CTRL_VQ,
  VIRTIO_NET_F_CTRL_MAC_ADDR,
  VIRTIO_NET_F_GUEST_ANNOUNCE,
]);

/** What of a card decides what it offers. */
export interface OfferedCard {
  readonly queuePairs: number;
  /** Whether the backend can keep frames away that the guest does not want. */
  readonly filters: boolean;
  /** Whether unfinished frames come whatever was agreed. */
  readonly unfinished: boolean;
}

/** What a driver accepts, and may change while it runs. */
export const GUEST_OFFLOADS = set([
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
]);

/** Each feature, and those of which it needs at least one. Virtio 1.2 §5.1.3.1. */
const NEEDS: readonly (readonly [feature: number, oneOf: readonly number[]])[] = [
  [VIRTIO_NET_F_GUEST_TSO4, [VIRTIO_NET_F_GUEST_CSUM]],
  [VIRTIO_NET_F_GUEST_TSO6, [VIRTIO_NET_F_GUEST_CSUM]],
  [VIRTIO_NET_F_GUEST_USO4, [VIRTIO_NET_F_GUEST_CSUM]],
  [VIRTIO_NET_F_GUEST_USO6, [VIRTIO_NET_F_GUEST_CSUM]],
  [VIRTIO_NET_F_GUEST_ECN, [VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6]],
  [VIRTIO_NET_F_HOST_TSO4, [VIRTIO_NET_F_CSUM]],
  [VIRTIO_NET_F_HOST_TSO6, [VIRTIO_NET_F_CSUM]],
  [VIRTIO_NET_F_HOST_USO, [VIRTIO_NET_F_CSUM]],
  [VIRTIO_NET_F_HOST_ECN, [VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6]],
  [VIRTIO_NET_F_CTRL_MAC_ADDR, [VIRTIO_NET_F_CTRL_VQ]],
  [VIRTIO_NET_F_CTRL_RX, [VIRTIO_NET_F_CTRL_VQ]],
  [VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, [VIRTIO_NET_F_CTRL_VQ]],
  [VIRTIO_NET_F_GUEST_ANNOUNCE, [VIRTIO_NET_F_CTRL_VQ]],
  [VIRTIO_NET_F_MQ, [VIRTIO_NET_F_CTRL_VQ]],
];

/**
 * What a guest is offered: each bit by whoever serves it, vhost, the backend or the device model. One
 * AND over everything would lose every offload, which vhost knows nothing about. Nothing above bit 63:
 * a guest's header has 12 bytes.
 *
 * @param backend  `VIRTIO_NET_F_*` bits.
 */
export function offeredToGuest(
  vhost: bigint,
  backend: bigint,
  { queuePairs, filters, unfinished }: OfferedCard,
): bigint {
  const some = (isOffered: boolean, feature: number) => (isOffered ? bit(feature) : 0n);
  return (
    (vhost & FROM_VHOST) |
    BigInt.asUintN(64, backend) |
    OURS |
    CONTROLLED |
    some(queuePairs > 1, VIRTIO_NET_F_MQ) |
    some(filters, VIRTIO_NET_F_CTRL_RX) |
    some(!unfinished, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)
  );
}

/** Whether a set has everything that its members need. */
export function isConsistent(features: bigint): boolean {
  return NEEDS.every(
    ([feature, oneOf]) => !has(features, feature) || oneOf.some((other) => has(features, other)),
  );
}

/** The same set as a tap takes it: UDP segmentation over both versions of IP, or over none. */
export function forBackend(features: bigint): bigint {
  const both = bit(VIRTIO_NET_F_GUEST_USO4) | bit(VIRTIO_NET_F_GUEST_USO6);
  return (features & both) === both ? features : features & ~both;
}
