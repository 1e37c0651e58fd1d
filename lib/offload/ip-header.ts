import { readWord, writeWord } from './bytes.js';
import { replaceWord, sumBytes } from './checksum.js';
import type { Packet } from './packet.js';

// Where a field lies in its header.
const IPV4_LENGTH = 2;
const IPV4_ID = 4;
const IPV4_CHECKSUM = 10;
const IPV6_LENGTH = 4;
const IPV6_HEADER = 40;

/** Makes the checksum of an IPv4 header right, so that {@link fitIp} can keep it right. */
export function sealIp(headers: Uint8Array, { version, ip, transport }: Packet): void {
  if (version === 6) return;
  writeWord(headers, ip + IPV4_CHECKSUM, 0);
  writeWord(headers, ip + IPV4_CHECKSUM, ~sumBytes(headers, ip, transport));
}

/**
 * Writes what the IP header of a segment has for itself: its length, up to the segment's end, and the
 * identification, which counts up from that of the frame it was cut from.
 *
 * @param segment  With a header that was {@link sealIp sealed}, and perhaps fitted to other segments since.
 */
export function fitIp(segment: Uint8Array, packet: Packet, frame: Uint8Array, index: number): void {
  const { version, ip } = packet;
  if (version === 6) {
    writeWord(segment, ip + IPV6_LENGTH, segment.length - ip - IPV6_HEADER);
    return;
  }
  const id = readWord(frame, ip + IPV4_ID) + index;
  replaceWord(segment, ip + IPV4_LENGTH, segment.length - ip, ip + IPV4_CHECKSUM);
  replaceWord(segment, ip + IPV4_ID, id, ip + IPV4_CHECKSUM);
}
