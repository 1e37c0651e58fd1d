import { VIRTIO_NET_HDR_GSO_NONE, VIRTIO_NET_HDR_GSO_UDP_TUNNEL } from '../uapi/virtio-net.js';

/** Bytes of `struct virtio_net_hdr_v1`. */
export const HEADER_SIZE = 12;

/** Bytes of `struct virtio_net_hdr_v1_hash_tunnel`, which begins with that. */
export const TUNNEL_HEADER_SIZE = 24;

/**
 * What is unfinished about a frame. `struct virtio_net_hdr_v1`, without the count of buffers, which
 * belongs to the ring; with what `struct virtio_net_hdr_v1_hash_tunnel` says of tunnels.
 *
 * Spec: Virtio 1.3 §5.1.6 "Device Operation"; of tunnels Virtio 1.4.
 */
export interface NetHeader {
  /** `VIRTIO_NET_HDR_F_*`. */
  flags: number;
  /** `VIRTIO_NET_HDR_GSO_*`. */
  gsoType: number;
  /** Bytes of all headers, which every segment repeats. With a GSO type; of a tunnel the inner ones too. */
  hdrLen: number;
  /** Bytes of payload of each segment. With a GSO type. */
  gsoSize: number;
  /** Where the checksum begins to count. With `VIRTIO_NET_HDR_F_NEEDS_CSUM`. */
  csumStart: number;
  /** Where it goes, from `csumStart` on. */
  csumOffset: number;
  /**
   * Where the outer UDP header begins. With `VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4` or `_IPV6` in
   * `gsoType`; the checksum is then the inner packet's. Default: 0.
   */
  outerThOffset?: number;
  /** Where the inner IP header begins. With the same. Default: 0. */
  innerNhOffset?: number;
}

/** A frame that is complete as it is. */
export const PLAIN_HEADER: Readonly<Required<NetHeader>> = Object.freeze({
  flags: 0,
  gsoType: VIRTIO_NET_HDR_GSO_NONE,
  hdrLen: 0,
  gsoSize: 0,
  csumStart: 0,
  csumOffset: 0,
  outerThOffset: 0,
  innerNhOffset: 0,
});

// Little-endian 16-bit words: flags and gso_type, hdr_len, gso_size, csum_start, csum_offset,
// num_buffers; then, of the long header, four of hash_value, hash_report and padding, outer_th_offset,
// inner_nh_offset.
/** Index of the word that says in how many buffers of the ring a frame is. */
export const NUM_BUFFERS = 5;
const HASH = 6;
const OUTER_TH_OFFSET = 10;
const INNER_NH_OFFSET = 11;

/** Whether a header leaves nothing to be finished. */
export function isPlain(header: Readonly<NetHeader>): boolean {
  return header.flags === 0 && header.gsoType === VIRTIO_NET_HDR_GSO_NONE;
}

/** Whether a GSO type is of a frame that a UDP tunnel carries. */
export function isTunnelled(gsoType: number): boolean {
  return (gsoType & VIRTIO_NET_HDR_GSO_UDP_TUNNEL) !== 0;
}

/**
 * Reads the header of `size` bytes that begins at 16-bit word `at`, into `header` when there is one to
 * use again. The kernel writes the offsets of a tunnel only where there is one: else they are 0.
 */
export function readHeader(
  words: Uint16Array,
  at: number,
  size = HEADER_SIZE,
  header: Required<NetHeader> = { ...PLAIN_HEADER },
): Required<NetHeader> {
  const first = words[at] ?? 0;
  header.flags = first & 0xff;
  header.gsoType = first >> 8;
  header.hdrLen = words[at + 1] ?? 0;
  header.gsoSize = words[at + 2] ?? 0;
  header.csumStart = words[at + 3] ?? 0;
  header.csumOffset = words[at + 4] ?? 0;
  const hasTunnel = size === TUNNEL_HEADER_SIZE && isTunnelled(header.gsoType);
  header.outerThOffset = hasTunnel ? (words[at + OUTER_TH_OFFSET] ?? 0) : 0;
  header.innerNhOffset = hasTunnel ? (words[at + INNER_NH_OFFSET] ?? 0) : 0;
  return header;
}

/**
 * Writes a header of `size` bytes at 16-bit word `at`; the count of buffers becomes 0, as a driver must
 * have it.
 */
export function writeHeader(
  words: Uint16Array,
  at: number,
  header: Readonly<NetHeader>,
  size = HEADER_SIZE,
): void {
  words[at] = header.flags | (header.gsoType << 8);
  words[at + 1] = header.hdrLen;
  words[at + 2] = header.gsoSize;
  words[at + 3] = header.csumStart;
  words[at + 4] = header.csumOffset;
  words[at + NUM_BUFFERS] = 0;
  if (size !== TUNNEL_HEADER_SIZE) return;
  words.fill(0, at + HASH, at + OUTER_TH_OFFSET);
  words[at + OUTER_TH_OFFSET] = header.outerThOffset ?? 0;
  words[at + INNER_NH_OFFSET] = header.innerNhOffset ?? 0;
}

/** Writes the header of a frame that is complete as it is. */
export function clearHeader(words: Uint16Array, at: number, size = HEADER_SIZE): void {
  words[at] = 0;
  words[at + 1] = 0;
  words[at + 2] = 0;
  words[at + 3] = 0;
  words[at + 4] = 0;
  words[at + NUM_BUFFERS] = 0;
  if (size === TUNNEL_HEADER_SIZE) words.fill(0, at + HASH, at + INNER_NH_OFFSET + 1);
}

/**
 * Copies a header, so that what is checked is what is written: a caller's object may have getters.
 */
export function copyHeader(to: Required<NetHeader>, from: Readonly<NetHeader>): void {
  to.flags = from.flags;
  to.gsoType = from.gsoType;
  to.hdrLen = from.hdrLen;
  to.gsoSize = from.gsoSize;
  to.csumStart = from.csumStart;
  to.csumOffset = from.csumOffset;
  to.outerThOffset = from.outerThOffset ?? 0;
  to.innerNhOffset = from.innerNhOffset ?? 0;
}

/** Over how many buffers a received frame is spread; some kernels leave 0 where they mean 1. */
export function bufferCount(words: Uint16Array, at: number): number {
  const count = words[at + NUM_BUFFERS];
  return count === undefined || count === 0 ? 1 : count;
}
