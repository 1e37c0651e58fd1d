import { readWord, writeWord } from './bytes.js';
import { misuse } from '../errors.js';
import { headerFault } from '../ring/header-fault.js';
import type { NetHeader } from '../ring/net-header.js';
import { VIRTIO_NET_HDR_F_NEEDS_CSUM } from '../uapi/virtio-net.js';

// A *sum* is a ones' complement sum of 16-bit words in network order, folded to 16 bits; a *checksum*
// is what goes into a header: the complement of one.

/** Below, making a view of words costs more than it saves. */
const SHORT = 96;

/** What {@link completeChecksum} is for. */
const CHECKSUMS_ALONE = { checksums: true, gsoTypes: 0 };

/** Words after which a double could no longer hold their sum exactly, in each of two accumulators. */
const BLOCK = 1 << 20;

/**
 * The sum of the bytes from `start` to `end`, as if they began at an even offset; an odd last byte is
 * followed by a 0.
 *
 * @throws {RangeError} The range does not lie within the bytes.
 * Spec: RFC 1071 §1, §2 (B) "Byte Order Independence" and (C) "Parallel Summation".
 */
export function sumBytes(bytes: Uint8Array, start = 0, end = bytes.length): number {
  if (!(start >= 0 && start <= end && end <= bytes.length)) {
    throw misuse.range('start', 'the beginning of a range within the bytes', [start, end]);
  }
  if (end - start < SHORT) return sumShort(bytes, start, end);
  const aligned = start + (-(bytes.byteOffset + start) & 3);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + aligned, (end - aligned) >> 2);
  const rest = sumShort(bytes, aligned + 4 * words.length, end);
  // Words as this little-endian machine reads them have their bytes the other way round.
  const body = fold(swap(sumWords(words)) + rest);
  // What begins behind an odd number of bytes has them the other way round once more.
  const inOrder = ((aligned - start) & 1) === 0 ? body : swap(body);
  return fold(sumShort(bytes, start, aligned) + inOrder);
}

/** Adds two sums. */
export function addSums(a: number, b: number): number {
  return fold(a + b);
}

/**
 * The checksum for a sum: never 0, which to UDP would say that there is none, and is the same number
 * as 0xffff to everyone else.
 */
export function toChecksum(sum: number): number {
  return ~sum & 0xffff || 0xffff;
}

/**
 * Writes a word in a header, and makes its checksum right again.
 *
 * @param word  Further bits are dropped.
 * @param checksumAt  Where the checksum is.
 * Spec: RFC 1624 §3, equation 3.
 */
export function replaceWord(bytes: Uint8Array, at: number, word: number, checksumAt: number): void {
  const checksum = updateChecksum(readWord(bytes, checksumAt), readWord(bytes, at), word);
  writeWord(bytes, at, word);
  writeWord(bytes, checksumAt, checksum);
}

/** The checksum after one of the words below it has changed. Spec: RFC 1624 §3, equation 3. */
export function updateChecksum(checksum: number, before: number, after: number): number {
  return ~fold((~checksum & 0xffff) + (~before & 0xffff) + (after & 0xffff)) & 0xffff;
}

/**
 * The sum of the pseudo header of an IPv4 packet.
 *
 * @param ip  Where its header begins.
 * @param length  Bytes of the transport's header and payload.
 * Spec: RFC 9293 §3.1 "Header Format"; RFC 768.
 */
export function pseudoHeader4(
  bytes: Uint8Array,
  ip: number,
  protocol: number,
  length: number,
): number {
  return fold(sumBytes(bytes, ip + 12, ip + 20) + protocol + length);
}

/** The same for IPv6. Spec: RFC 8200 §8.1 "Upper-Layer Checksums". */
export function pseudoHeader6(
  bytes: Uint8Array,
  ip: number,
  protocol: number,
  length: number,
): number {
  return fold(sumBytes(bytes, ip + 8, ip + 40) + protocol + (length >>> 16) + (length & 0xffff));
}

/**
 * Fills in the checksum that a header with `VIRTIO_NET_HDR_F_NEEDS_CSUM` asks for; without it does
 * nothing. The field holds the sum of the pseudo header.
 *
 * @throws {RangeError} The checksum lies outside the frame, or there is a GSO type.
 * Spec: Virtio 1.3 §5.1.6.2 "Packet Transmission".
 */
export function completeChecksum(frame: Uint8Array, header: Readonly<NetHeader>): void {
  const fault = headerFault(header, frame.length, CHECKSUMS_ALONE);
  if (fault !== undefined) {
    throw misuse.range('header', `one whose checksum can be filled in, not ${fault}`, header);
  }
  if ((header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) === 0) return;
  const { csumStart, csumOffset } = header;
  writeWord(frame, csumStart + csumOffset, toChecksum(sumBytes(frame, csumStart)));
}

/** Two bytes at a time, wherever they lie. */
function sumShort(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0;
  let at = start;
  for (; at + 1 < end; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  if (at < end) sum += (bytes[at] ?? 0) << 8;
  return fold(sum);
}

/** The sum of 32-bit words, each being two of 16 bits. */
function sumWords(words: Uint32Array): number {
  let sum = 0;
  for (let at = 0; at < words.length; at += BLOCK) {
    sum += sumBlock(words, at, Math.min(at + BLOCK, words.length));
  }
  return fold(sum);
}

/** In two accumulators, which don't wait for each other; as doubles, which don't overflow. */
function sumBlock(words: Uint32Array, start: number, end: number): number {
  let even = 0;
  let odd = 0;
  let at = start;
  for (; at + 3 < end; at += 4) {
    even += (words[at] ?? 0) + (words[at + 1] ?? 0);
    odd += (words[at + 2] ?? 0) + (words[at + 3] ?? 0);
  }
  for (; at < end; at++) even += words[at] ?? 0;
  const sum = even + odd;
  const low = sum >>> 0;
  return fold(fold(low) + (sum - low) / 2 ** 32);
}

/** A sum of less than 2^32 with the carries added in, until none is left. */
function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

function swap(sum: number): number {
  return ((sum & 0xff) << 8) | (sum >>> 8);
}
