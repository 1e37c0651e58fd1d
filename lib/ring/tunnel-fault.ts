import type { NetHeader } from './net-header.js';
import { UDP_HEADER, innerType, segmentedBytes, segmentsFault } from './segment-fault.js';
import {
  VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6,
} from '../uapi/virtio-net.js';

const ETHERNET_HEADER = 14;
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;

/** Bytes of a segment of TCP at the least, whatever was asked for. `TCP_MIN_GSO_SIZE` of `<net/tcp.h>`, Linux 7. */
const LEAST_SEGMENT = 8;

/**
 * What keeps a kernel from cutting a frame inside a UDP tunnel, of a header that is right otherwise:
 * that has the GSO type and checksum of what is to be cut, and fits the frame.
 *
 * Spec: Virtio 1.4 "Packet Transmission"; `virtio_net_hdr_tnl_to_skb()` and `__virtio_net_hdr_to_skb()`
 * of `<linux/virtio_net.h>`, Linux 6.17 to 7.x.
 */
export function tunnelFault(header: Readonly<NetHeader>, length: number): string | undefined {
  if ((header.gsoType & VIRTIO_NET_HDR_GSO_UDP_TUNNEL) === VIRTIO_NET_HDR_GSO_UDP_TUNNEL) {
    return 'a tunnel over both IPv4 and IPv6';
  }
  return placesFault(header) ?? segmentsFault(header, length) ?? singleFault(header, length);
}

/** The parts of the frame are in the order in which they were wrapped. */
function placesFault(header: Readonly<NetHeader>): string | undefined {
  const { gsoType, csumStart, outerThOffset = 0, innerNhOffset = 0 } = header;
  const isOver6 = (gsoType & VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6) !== 0;
  if (outerThOffset < ETHERNET_HEADER + (isOver6 ? IPV6_HEADER : IPV4_HEADER)) {
    return `an outerThOffset of ${String(outerThOffset)}, within the outer IP header`;
  }
  if (innerNhOffset < outerThOffset + UDP_HEADER) {
    return `an innerNhOffset of ${String(innerNhOffset)}, within the outer UDP header`;
  }
  // UDP goes over both, and which it is only the frame says.
  const carries6 = innerType(gsoType) === VIRTIO_NET_HDR_GSO_TCPV6;
  if (csumStart < innerNhOffset + (carries6 ? IPV6_HEADER : IPV4_HEADER)) {
    return `a csumStart of ${String(csumStart)}, within the inner IP header`;
  }
  return undefined;
}

/** Of a single segment the kernel takes it for no long frame, and nobody fills in the outer checksum. */
function singleFault(header: Readonly<NetHeader>, length: number): string | undefined {
  const { flags, gsoSize } = header;
  const isUdp = innerType(header.gsoType) === VIRTIO_NET_HDR_GSO_UDP_L4;
  const most = isUdp ? gsoSize : Math.max(gsoSize, LEAST_SEGMENT);
  const isOne = segmentedBytes(header, length) <= most;
  if (!isOne || (flags & VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM) === 0) return undefined;
  return 'UDP_TUNNEL_CSUM with a single segment';
}
