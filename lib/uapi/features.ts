import { VHOST_F_LOG_ALL } from './vhost.js';
import * as net from './virtio-net.js';
import * as virtio from './virtio.js';

/** A feature bit, for people. */
export interface FeatureBit {
  /** Its number. */
  readonly bit: number;
  /** As the kernel's headers spell it; two names where they have two. */
  readonly name: string;
  /** What it brings. */
  readonly meaning: string;
}

/** Every bit that vhost-net or a backend of this package has to do with, in ascending order. */
export const FEATURE_BITS: readonly FeatureBit[] = (
  [
    [net.VIRTIO_NET_F_CSUM, 'VIRTIO_NET_F_CSUM', 'we send frames with unfinished checksums'],
    [net.VIRTIO_NET_F_GUEST_CSUM, 'VIRTIO_NET_F_GUEST_CSUM', 'we take such frames'],
    [
      net.VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
      'VIRTIO_NET_F_CTRL_GUEST_OFFLOADS',
      'what we take can be changed while it runs',
    ],
    [net.VIRTIO_NET_F_MTU, 'VIRTIO_NET_F_MTU', 'the device says its MTU'],
    [net.VIRTIO_NET_F_MAC, 'VIRTIO_NET_F_MAC', 'the device says its address'],
    [net.VIRTIO_NET_F_GUEST_TSO4, 'VIRTIO_NET_F_GUEST_TSO4', 'we take long TCP frames over IPv4'],
    [net.VIRTIO_NET_F_GUEST_TSO6, 'VIRTIO_NET_F_GUEST_TSO6', 'we take long TCP frames over IPv6'],
    [net.VIRTIO_NET_F_GUEST_ECN, 'VIRTIO_NET_F_GUEST_ECN', 'we take long TCP frames with ECN'],
    [
      net.VIRTIO_NET_F_GUEST_UFO,
      'VIRTIO_NET_F_GUEST_UFO',
      'we take UDP datagrams to be fragmented',
    ],
    [net.VIRTIO_NET_F_HOST_TSO4, 'VIRTIO_NET_F_HOST_TSO4', 'we send long TCP frames over IPv4'],
    [net.VIRTIO_NET_F_HOST_TSO6, 'VIRTIO_NET_F_HOST_TSO6', 'we send long TCP frames over IPv6'],
    [net.VIRTIO_NET_F_HOST_ECN, 'VIRTIO_NET_F_HOST_ECN', 'we send long TCP frames with ECN'],
    [net.VIRTIO_NET_F_HOST_UFO, 'VIRTIO_NET_F_HOST_UFO', 'we send UDP datagrams to be fragmented'],
    [net.VIRTIO_NET_F_MRG_RXBUF, 'VIRTIO_NET_F_MRG_RXBUF', 'a frame may fill several buffers'],
    [net.VIRTIO_NET_F_STATUS, 'VIRTIO_NET_F_STATUS', 'the device says whether the link is up'],
    [net.VIRTIO_NET_F_CTRL_VQ, 'VIRTIO_NET_F_CTRL_VQ', 'there is a queue for commands'],
    [net.VIRTIO_NET_F_CTRL_RX, 'VIRTIO_NET_F_CTRL_RX', 'the device filters what it receives'],
    [net.VIRTIO_NET_F_CTRL_VLAN, 'VIRTIO_NET_F_CTRL_VLAN', 'the device filters by VLAN'],
    [
      net.VIRTIO_NET_F_GUEST_ANNOUNCE,
      'VIRTIO_NET_F_GUEST_ANNOUNCE',
      'the device asks us to say where we are',
    ],
    [net.VIRTIO_NET_F_MQ, 'VIRTIO_NET_F_MQ', 'there are several queue pairs'],
    [net.VIRTIO_NET_F_CTRL_MAC_ADDR, 'VIRTIO_NET_F_CTRL_MAC_ADDR', 'our address can be changed'],
    [
      virtio.VIRTIO_F_NOTIFY_ON_EMPTY,
      'VIRTIO_F_NOTIFY_ON_EMPTY',
      'a call for an empty ring, wanted or not',
    ],
    [VHOST_F_LOG_ALL, 'VHOST_F_LOG_ALL', 'pages that vhost writes are marked in a log'],
    [
      virtio.VIRTIO_F_ANY_LAYOUT,
      'VHOST_NET_F_VIRTIO_NET_HDR, VIRTIO_F_ANY_LAYOUT',
      'vhost makes and strips the header, not the backend',
    ],
    [
      virtio.VIRTIO_RING_F_INDIRECT_DESC,
      'VIRTIO_RING_F_INDIRECT_DESC',
      'a descriptor may name a table of descriptors',
    ],
    [
      virtio.VIRTIO_RING_F_EVENT_IDX,
      'VIRTIO_RING_F_EVENT_IDX',
      'each side says from where on it wants to be woken',
    ],
    [virtio.VIRTIO_F_VERSION_1, 'VIRTIO_F_VERSION_1', 'little-endian rings, a header of 12 bytes'],
    [
      virtio.VIRTIO_F_ACCESS_PLATFORM,
      'VIRTIO_F_ACCESS_PLATFORM',
      'addresses go through an IOTLB in user space',
    ],
    [virtio.VIRTIO_F_RING_PACKED, 'VIRTIO_F_RING_PACKED', 'rings of the packed form'],
    [
      virtio.VIRTIO_F_IN_ORDER,
      'VIRTIO_F_IN_ORDER',
      'buffers are used in the order they are offered',
    ],
    [virtio.VIRTIO_F_RING_RESET, 'VIRTIO_F_RING_RESET', 'one ring can be reset by itself'],
    [net.VIRTIO_NET_F_GUEST_USO4, 'VIRTIO_NET_F_GUEST_USO4', 'we take long UDP frames over IPv4'],
    [net.VIRTIO_NET_F_GUEST_USO6, 'VIRTIO_NET_F_GUEST_USO6', 'we take long UDP frames over IPv6'],
    [net.VIRTIO_NET_F_HOST_USO, 'VIRTIO_NET_F_HOST_USO', 'we send long UDP frames'],
    [
      net.VIRTIO_NET_F_SPEED_DUPLEX,
      'VIRTIO_NET_F_SPEED_DUPLEX',
      'the device says how fast the link is',
    ],
    [
      net.VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO,
      'VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO',
      'we take long frames inside a UDP tunnel',
    ],
    [
      net.VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM,
      'VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM',
      'the same with the outer checksum unfinished',
    ],
    [
      net.VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO,
      'VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO',
      'we send long frames inside a UDP tunnel',
    ],
    [
      net.VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM,
      'VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM',
      'the same with the outer checksum unfinished',
    ],
  ] as const
).map(([bit, name, meaning]) => ({ bit, name, meaning }));

const BY_NUMBER = new Map(FEATURE_BITS.map((feature) => [feature.bit, feature]));

/** Each bit of a set, in ascending order; one that nobody named is `bit N`. */
export function featureBits(features: bigint): FeatureBit[] {
  const found: FeatureBit[] = [];
  for (let bit = 0, rest = features; rest !== 0n; bit++, rest >>= 1n) {
    if ((rest & 1n) === 0n) continue;
    const unknown = { bit, name: `bit ${String(bit)}`, meaning: 'unknown to this package' };
    found.push(BY_NUMBER.get(bit) ?? unknown);
  }
  return found;
}
