import type { NetHeader } from './net-header.js';
import {
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_UDP,
  VIRTIO_NET_HDR_GSO_UDP_L4,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL,
} from '../uapi/virtio-net.js';

/** Bytes of a UDP header. */
export const UDP_HEADER = 8;
const UDP_CHECKSUM = 6;
const TCP_HEADER = 20;
const TCP_CHECKSUM = 16;

/** The kernel means something else by a segment of this size. `GSO_BY_FRAGS` of `<linux/skbuff.h>`. */
const GSO_BY_FRAGS = 0xffff;

/** Datagrams of which one long one may be made. `UDP_MAX_SEGMENTS` of `<linux/udp.h>`, Linux 6.9; 64 before. */
const MOST_DATAGRAMS = 128;

/**
 * Where a checksummed header must begin at the latest: the kernel counts its place in 16 bits, from some
 * room on that it keeps in front of the frame.
 */
export const LATEST_HEADER = 0xffff - 1024;

/**
 * What keeps a kernel from cutting a frame into TCP segments or UDP datagrams, of a header that is right
 * otherwise: whose GSO type and checksum were agreed on, and that fits the frame. The kernel would drop
 * it, and nobody would be told.
 *
 * Source: `__virtio_net_hdr_to_skb()` of `<linux/virtio_net.h>`, Linux 6.1 to 7.x.
 */
export function segmentsFault(header: Readonly<NetHeader>, length: number): string | undefined {
  const { gsoType, gsoSize, csumOffset } = header;
  if (gsoSize === GSO_BY_FRAGS) return `a gsoSize of ${String(gsoSize)}`;
  const type = innerType(gsoType);
  if (type === VIRTIO_NET_HDR_GSO_UDP) return undefined; // IP fragments, whatever is in them
  const isUdp = type === VIRTIO_NET_HDR_GSO_UDP_L4;
  if (csumOffset !== (isUdp ? UDP_CHECKSUM : TCP_CHECKSUM)) {
    return `a csumOffset of ${String(csumOffset)}, where its header has no checksum`;
  }
  const payload = segmentedBytes(header, length);
  if (payload < 0) return 'a csumStart whose header ends behind the frame';
  if (isUdp && payload > MOST_DATAGRAMS * gsoSize) {
    return `more than ${String(MOST_DATAGRAMS)} datagrams`;
  }
  return undefined;
}

/** Bytes behind the header that every segment gets, without TCP's options. */
export function segmentedBytes(
  { gsoType, csumStart }: Readonly<NetHeader>,
  length: number,
): number {
  const isUdp = innerType(gsoType) === VIRTIO_NET_HDR_GSO_UDP_L4;
  return length - csumStart - (isUdp ? UDP_HEADER : TCP_HEADER);
}

/** What is to be cut, whatever it is wrapped in. */
export function innerType(gsoType: number): number {
  return gsoType & ~(VIRTIO_NET_HDR_GSO_UDP_TUNNEL | VIRTIO_NET_HDR_GSO_ECN);
}
