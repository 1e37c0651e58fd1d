import type { NetHeader } from './net-header.js';
import {
  VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6,
} from '../uapi/virtio-net.js';

const ETHERNET_HEADER = 14;
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const UDP_HEADER = 8;
const UDP_CHECKSUM = 6;
const TCP_HEADER = 20;
const TCP_CHECKSUM = 16;

/** The kernel means something else by a segment of this size. `GSO_BY_FRAGS` of `<linux/skbuff.h>`. */
const GSO_BY_FRAGS = 0xffff;

/** Bytes of a segment of TCP at the least, whatever was asked for. `TCP_MIN_GSO_SIZE` of `<net/tcp.h>`, Linux 7. */
const LEAST_SEGMENT = 8;

/** Datagrams of which one long one may be made. `UDP_MAX_SEGMENTS` of `<linux/udp.h>`, Linux 6.9. */
const MOST_DATAGRAMS = 128;

/**
 * Where the inner headers must begin at the latest: the kernel counts their places in 16 bits, from some
 * room on that it keeps in front of the frame.
 */
const LATEST = 0xffff - 1024;

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
  return placesFault(header) ?? segmentsFault(header, length);
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
  return csumStart > LATEST ? `a csumStart beyond ${String(LATEST)}` : undefined;
}

function segmentsFault(header: Readonly<NetHeader>, length: number): string | undefined {
  const { gsoType, gsoSize, csumStart, csumOffset } = header;
  const isUdp = innerType(gsoType) === VIRTIO_NET_HDR_GSO_UDP_L4;
  const payload = length - csumStart - (isUdp ? UDP_HEADER : TCP_HEADER);
  if (csumOffset !== (isUdp ? UDP_CHECKSUM : TCP_CHECKSUM)) {
    return `a csumOffset of ${String(csumOffset)}, where its inner header has no checksum`;
  }
  if (payload < 0) return 'a csumStart whose header ends behind the frame';
  if (gsoSize === GSO_BY_FRAGS) return `a gsoSize of ${String(gsoSize)}`;
  if (isUdp && payload > MOST_DATAGRAMS * gsoSize) {
    return `more than ${String(MOST_DATAGRAMS)} datagrams`;
  }
  // The kernel then takes it for no long frame, and nobody fills in the outer checksum.
  const isOne = payload <= (isUdp ? gsoSize : Math.max(gsoSize, LEAST_SEGMENT));
  if (isOne && (header.flags & VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM) !== 0) {
    return 'UDP_TUNNEL_CSUM with a single segment';
  }
  return undefined;
}

function innerType(gsoType: number): number {
  return gsoType & ~(VIRTIO_NET_HDR_GSO_UDP_TUNNEL | VIRTIO_NET_HDR_GSO_ECN);
}
