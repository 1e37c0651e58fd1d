import { readWord } from './bytes.js';
import { pseudoHeader4, pseudoHeader6, sumBytes } from './checksum.js';
import { IPPROTO_TCP, IPPROTO_UDP, findPacket } from './packet.js';
import type { Packet } from './packet.js';
import { PLAIN_HEADER } from '../ring/net-header.js';
import type { NetHeader } from '../ring/net-header.js';
import {
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
} from '../uapi/virtio-net.js';

/** Bytes of the shortest header of the transport, and where the checksum is in it. */
const TRANSPORTS: Readonly<Record<number, { least: number; checksumAt: number }>> = {
  [IPPROTO_TCP]: { least: 20, checksumAt: 16 },
  [IPPROTO_UDP]: { least: 8, checksumAt: 6 },
};

const CWR = 0x80;

/**
 * The virtio-net header that a frame lacks which the kernel handed on unfinished without saying so. An
 * unfinished checksum is the sum of the pseudo header; what is longer than the MTU is to be cut to it.
 * How long the datagrams were of which a long UDP packet is made nobody can tell: such a frame stays
 * whole.
 *
 * @param first  The beginning of the frame, with all headers.
 * @param length  Bytes of the whole frame.
 * @param mtu  Of the interface that it came from.
 * @param whole  The whole frame, asked for only where one in 65,536 finished frames looks like one that
 * is not.
 * @returns Undefined: the frame is complete.
 */
export function inferHeader(
  first: Uint8Array,
  length: number,
  mtu: number,
  whole: () => Uint8Array,
): NetHeader | undefined {
  const found = findUnfinished(first, length);
  if (!found) return undefined;
  const { packet, checksumAt, sum } = found;
  const header = { ...PLAIN_HEADER };
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csumStart = packet.transport;
  header.csumOffset = checksumAt;
  if (packet.end - packet.ip > mtu)
    return packet.protocol === IPPROTO_TCP ? cut(header, first, packet, mtu) : header;
  const total = sumBytes(whole(), packet.transport, packet.end);
  return isZero(total + sum) ? undefined : header;
}

/** A packet that has the sum of its pseudo header where its checksum is to be. */
function findUnfinished(
  first: Uint8Array,
  length: number,
): { packet: Packet; checksumAt: number; sum: number } | undefined {
  const packet = findPacket(first);
  const transport = packet && TRANSPORTS[packet.protocol];
  if (!transport || packet.fragment || packet.end > length) return undefined;
  // Whatever the headers say of lengths: only what holds them may be looked at.
  const headersEnd = packet.transport + transport.least;
  if (headersEnd > packet.end || headersEnd > first.length) return undefined;
  const { checksumAt } = transport;
  const sum = pseudoSum(first, packet);
  return readWord(first, packet.transport + checksumAt) === sum
    ? { packet, checksumAt, sum }
    : undefined;
}

function pseudoSum(first: Uint8Array, { version, ip, protocol, transport, end }: Packet): number {
  const pseudoHeader = version === 4 ? pseudoHeader4 : pseudoHeader6;
  return pseudoHeader(first, ip, protocol, end - transport);
}

/** Whether a sum with the checksum in it says that all is right. */
function isZero(sum: number): boolean {
  return ((sum & 0xffff) + (sum >>> 16)) % 0xffff === 0;
}

/** A packet for the segments of which the sender had the MTU in mind. */
function cut(header: NetHeader, first: Uint8Array, packet: Packet, mtu: number): NetHeader {
  const { version, ip, transport } = packet;
  header.hdrLen = transport + ((first[transport + 12] ?? 0) >> 4) * 4;
  header.gsoSize = mtu - (header.hdrLen - ip);
  header.gsoType = version === 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
  if (((first[transport + 13] ?? 0) & CWR) !== 0) header.gsoType |= VIRTIO_NET_HDR_GSO_ECN;
  return header;
}
