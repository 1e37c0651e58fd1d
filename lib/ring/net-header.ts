import {
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
} from '../uapi/virtio-net.js';

/**
 * What is unfinished about a frame. `struct virtio_net_hdr_v1`, without the count of buffers, which
 * belongs to the ring.
 *
 * Spec: Virtio 1.3 §5.1.6 "Device Operation".
 */
export interface NetHeader {
  /** `VIRTIO_NET_HDR_F_*`. */
  flags: number;
  /** `VIRTIO_NET_HDR_GSO_*`. */
  gsoType: number;
  /** Bytes of all headers, which every segment repeats. With a GSO type. */
  hdrLen: number;
  /** Bytes of payload of each segment. With a GSO type. */
  gsoSize: number;
  /** Where the checksum begins to count. With `VIRTIO_NET_HDR_F_NEEDS_CSUM`. */
  csumStart: number;
  /** Where it goes, from `csumStart` on. */
  csumOffset: number;
}

/** A frame that is complete as it is. */
export const PLAIN_HEADER: Readonly<NetHeader> = Object.freeze({
  flags: 0,
  gsoType: VIRTIO_NET_HDR_GSO_NONE,
  hdrLen: 0,
  gsoSize: 0,
  csumStart: 0,
  csumOffset: 0,
});

// Little-endian 16-bit words: flags and gso_type, hdr_len, gso_size, csum_start, csum_offset,
// num_buffers.
const NUM_BUFFERS = 5;

/** Reads the header that begins at 16-bit word `at`, into `header` when there is one to use again. */
export function readHeader(
  words: Uint16Array,
  at: number,
  header: NetHeader = { ...PLAIN_HEADER },
): NetHeader {
  const first = words[at] ?? 0;
  header.flags = first & 0xff;
  header.gsoType = first >> 8;
  header.hdrLen = words[at + 1] ?? 0;
  header.gsoSize = words[at + 2] ?? 0;
  header.csumStart = words[at + 3] ?? 0;
  header.csumOffset = words[at + 4] ?? 0;
  return header;
}

/** Writes a header at 16-bit word `at`; the count of buffers becomes 0, as a driver must have it. */
export function writeHeader(words: Uint16Array, at: number, header: Readonly<NetHeader>): void {
  words[at] = header.flags | (header.gsoType << 8);
  words[at + 1] = header.hdrLen;
  words[at + 2] = header.gsoSize;
  words[at + 3] = header.csumStart;
  words[at + 4] = header.csumOffset;
  words[at + NUM_BUFFERS] = 0;
}

/** Writes the header of a frame that is complete as it is. */
export function clearHeader(words: Uint16Array, at: number): void {
  words[at] = 0;
  words[at + 1] = 0;
  words[at + 2] = 0;
  words[at + 3] = 0;
  words[at + 4] = 0;
  words[at + NUM_BUFFERS] = 0;
}

/**
 * Copies a header, so that what is checked is what is written: a caller's object may have getters.
 */
export function copyHeader(to: NetHeader, from: Readonly<NetHeader>): void {
  to.flags = from.flags;
  to.gsoType = from.gsoType;
  to.hdrLen = from.hdrLen;
  to.gsoSize = from.gsoSize;
  to.csumStart = from.csumStart;
  to.csumOffset = from.csumOffset;
}

/** Over how many buffers a received frame is spread; some kernels leave 0 where they mean 1. */
export function bufferCount(words: Uint16Array, at: number): number {
  const count = words[at + NUM_BUFFERS];
  return count === undefined || count === 0 ? 1 : count;
}

/**
 * The bit of a GSO type in a set of them; with and without ECN they are two, for `HOST_ECN` is a
 * feature of its own. 0: no type that a header of this length can have.
 */
export function gsoBit(gsoType: number): number {
  const ecn = gsoType & VIRTIO_NET_HDR_GSO_ECN;
  const type = gsoType & ~VIRTIO_NET_HDR_GSO_ECN;
  return type > 15 ? 0 : 1 << (ecn === 0 ? type : type + 16);
}

/**
 * Whether a header may go to the kernel with a frame of this length. vhost puts a frame back whose
 * header it can't make sense of and tries it again for ever, without telling anybody: such a header
 * must never reach it.
 *
 * @param gsoTypes  Bit set of GSO types ({@link gsoBit}) that the device accepts.
 * @param checksums  Whether the device fills in checksums.
 * @returns What is wrong with it; undefined when it is right.
 */
export function headerFault(
  header: Readonly<NetHeader>,
  length: number,
  gsoTypes: number,
  checksums: boolean,
): string | undefined {
  if (!isByte(header.flags) || !isByte(header.gsoType)) return 'flags or gsoType beyond a byte';
  const type = header.gsoType & ~VIRTIO_NET_HDR_GSO_ECN;
  if ((header.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) return 'flags other than NEEDS_CSUM';
  if (type !== VIRTIO_NET_HDR_GSO_NONE) return gsoFault(header, length, gsoTypes);
  if (header.gsoType !== type) return 'ECN without a GSO type';
  const words = lengthFault(header, length);
  return words ?? (header.flags === 0 ? undefined : checksumFault(header, length, checksums));
}

/** Also of a plain frame: vhost takes hdr_len for the length of what it must copy. */
function lengthFault(header: Readonly<NetHeader>, length: number): string | undefined {
  if (!isWord(header.hdrLen) || header.hdrLen > length) return 'a hdrLen beyond the frame';
  if (!isWord(header.gsoSize)) return 'a gsoSize beyond 16 bits';
  if (!isWord(header.csumStart) || !isWord(header.csumOffset)) return 'a checksum beyond 16 bits';
  return undefined;
}

function checksumFault(
  header: Readonly<NetHeader>,
  length: number,
  checksums: boolean,
): string | undefined {
  if (!checksums) return 'NEEDS_CSUM, which was not agreed on';
  const { csumStart, csumOffset } = header;
  if (csumStart + csumOffset + 2 > length) {
    return `a checksum at ${String(csumStart)}+${String(csumOffset)}, outside the frame`;
  }
  return undefined;
}

function gsoFault(
  header: Readonly<NetHeader>,
  length: number,
  gsoTypes: number,
): string | undefined {
  if ((gsoTypes & gsoBit(header.gsoType)) === 0) {
    return `GSO type ${String(header.gsoType)}, which was not agreed on`;
  }
  if (header.gsoSize === 0) return 'a GSO type without a gsoSize';
  if (header.flags === 0) return 'a GSO type without NEEDS_CSUM';
  return lengthFault(header, length) ?? checksumFault(header, length, true);
}

function isByte(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xff;
}

function isWord(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff;
}
