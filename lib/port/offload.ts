import type { TransmitLimits } from './frame-limits.js';
import {
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO,
  VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO,
  VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM,
  VIRTIO_NET_F_HOST_USO,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from '../uapi/virtio-net.js';
import { VIRTIO_F_VERSION_1, VIRTIO_RING_F_EVENT_IDX, bit, has } from '../uapi/virtio.js';
import { gsoBit } from '../ring/header-fault.js';
import { isTunnelled } from '../ring/net-header.js';
import type { NetHeader } from '../ring/net-header.js';

/**
 * Which unfinished frames a port exchanges with the kernel. `none`: every frame is complete, and not
 * longer than the MTU. `auto`: whatever both sides can; frames of up to 64 KiB and with checksums
 * still to be filled in come and may be sent, also inside a UDP tunnel where the kernel has that, and
 * their headers say so.
 */
export type Offloads = 'none' | 'auto';

/** The longest frame with a GSO type: 65,535 bytes of IP behind an Ethernet header with a VLAN tag. */
export const LONGEST_GSO_FRAME = 65535 + 18;

/** What a port can't do without. */
export const REQUIRED: readonly (readonly [number: number, name: string])[] = [
  [VIRTIO_F_VERSION_1, 'VIRTIO_F_VERSION_1'],
  [VIRTIO_NET_F_MRG_RXBUF, 'VIRTIO_NET_F_MRG_RXBUF'],
];

const ALWAYS = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_NET_F_MRG_RXBUF) | bit(VIRTIO_RING_F_EVENT_IDX);

const OFFLOADS = [
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_USO,
  VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO,
  VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM,
  VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO,
  VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM,
].reduce((features, number) => features | bit(number), 0n);

/** The feature bits that a port with these offloads makes use of. */
export function wantedFeatures(offloads: Offloads): bigint {
  return offloads === 'auto' ? ALWAYS | OFFLOADS : ALWAYS;
}

/**
 * What may be sent under an agreement.
 *
 * @param strictMtu  Frames that are not for the device to cut must fit the MTU.
 */
export function transmitLimits(negotiated: bigint, mtu: number, strictMtu = false): TransmitLimits {
  const types: readonly (readonly [feature: number, type: number])[] = [
    [VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_HDR_GSO_TCPV4],
    [VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_HDR_GSO_TCPV6],
    [VIRTIO_NET_F_HOST_USO, VIRTIO_NET_HDR_GSO_UDP_L4],
  ];
  const agreed = types.filter(([feature]) => has(negotiated, feature)).map(([, type]) => type);
  const tcp = agreed.filter((type) => type !== VIRTIO_NET_HDR_GSO_UDP_L4);
  const ecn = has(negotiated, VIRTIO_NET_F_HOST_ECN) ? tcp : [];
  const all = [...agreed, ...ecn.map((type) => type | VIRTIO_NET_HDR_GSO_ECN)];
  return {
    checksums: has(negotiated, VIRTIO_NET_F_CSUM),
    gsoTypes: all.reduce((set, type) => set | gsoBit(type), 0),
    tunnels: has(negotiated, VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO),
    tunnelChecksums: has(negotiated, VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM),
    longest: agreed.length > 0 ? LONGEST_GSO_FRAME : mtu + 18,
    longestPlain: agreed.length > 0 && !strictMtu ? LONGEST_GSO_FRAME : mtu + 18,
  };
}

/** A received header as it may be sent on: what only a receiver is told is dropped. */
export function forwardHeader(header: NetHeader): NetHeader {
  header.flags &= isTunnelled(header.gsoType)
    ? VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM
    : VIRTIO_NET_HDR_F_NEEDS_CSUM;
  return header;
}
