import { VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4 } from '#lib/uapi/virtio-net';

/** Where a frame in place differs from the one before it. */
export const COUNTER_AT = 42;

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}

function headerChecksum(header: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += ((header[i] ?? 0) << 8) | (header[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

const UDP = 17;
const TCP = 6;

/** IPv4 to an Ethernet address that nobody has, and port 9. */
function ipFrame(length: number, protocol: number): Uint8Array {
  const frame = new Uint8Array(length);
  frame.set([2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 8, 0]);
  const ip = frame.subarray(14);
  ip.set([0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2]);
  put16(ip, 2, length - 14);
  put16(ip, 10, headerChecksum(ip));
  put16(ip, 20, 9);
  put16(ip, 22, 9);
  return frame;
}

/** The frame that every side sends: UDP. */
export function benchFrame(length: number): Uint8Array {
  const frame = ipFrame(length, UDP);
  put16(frame, 38, length - 34);
  return frame;
}

/** The frame that goes out with {@link GSO_HEADER}: TCP, without options. */
export function gsoFrame(length: number): Uint8Array {
  const frame = ipFrame(length, TCP);
  frame[46] = 5 << 4; // its header's length, in words of 32 bits
  return frame;
}

/** What the kernel is told of a TCP frame of 64 KiB that it is to cut into segments of 1448 bytes. */
export const GSO_HEADER = {
  flags: VIRTIO_NET_HDR_F_NEEDS_CSUM,
  gsoType: VIRTIO_NET_HDR_GSO_TCPV4,
  hdrLen: 54,
  gsoSize: 1448,
  csumStart: 34,
  csumOffset: 16,
} as const;

/** Makes the reply of an ICMP echo request, in place; false: it is none. */
export function makeEchoReply(frame: Uint8Array): boolean {
  const isIp = frame.length >= 42 && frame[12] === 8 && frame[13] === 0 && frame[14] === 0x45;
  if (!isIp || frame[23] !== 1 || frame[34] !== 8) return false;
  swap(frame, 0, 6, 6);
  swap(frame, 26, 30, 4);
  frame[34] = 0;
  // The type went from 8 to 0, so the one's complement sum of the rest grows by 0x0800.
  const sum = (((frame[36] ?? 0) << 8) | (frame[37] ?? 0)) + 0x0800;
  put16(frame, 36, (sum & 0xffff) + (sum >> 16));
  return true;
}

function swap(bytes: Uint8Array, a: number, b: number, length: number): void {
  for (let i = 0; i < length; i++) {
    const kept = bytes[a + i] ?? 0;
    bytes[a + i] = bytes[b + i] ?? 0;
    bytes[b + i] = kept;
  }
}
