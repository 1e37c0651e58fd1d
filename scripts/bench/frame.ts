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

/** The frame that every side sends: UDP over IPv4 to an Ethernet address that nobody has. */
export function benchFrame(length: number): Uint8Array {
  const frame = new Uint8Array(length);
  frame.set([2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 8, 0]);
  const ip = frame.subarray(14);
  ip.set([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2]);
  put16(ip, 2, length - 14);
  put16(ip, 10, headerChecksum(ip));
  const udp = ip.subarray(20);
  put16(udp, 0, 9);
  put16(udp, 2, 9);
  put16(udp, 4, length - 34);
  return frame;
}
