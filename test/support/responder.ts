import type { Port } from '#lib/port/port';

/** Answers ARP for any address, and ICMP echo, on a port. */
export function respond(port: Port, mac: readonly number[] = [2, 0, 0, 0, 0, 2]): void {
  port.on('receive', (batch) => {
    for (const frame of batch) {
      const answer = arpReply(frame.bytes, mac) ?? echoReply(frame.bytes);
      if (answer) port.send(answer);
    }
  });
}

/** RFC 826. */
function arpReply(request: Uint8Array, mac: readonly number[]): Uint8Array | undefined {
  if (request[12] !== 8 || request[13] !== 6 || request[21] !== 1) return undefined;
  const reply = request.slice(0, 42);
  reply.set(request.subarray(6, 12), 0);
  reply.set(mac, 6);
  reply[21] = 2;
  reply.set(mac, 22);
  reply.set(request.subarray(38, 42), 28);
  reply.set(request.subarray(22, 32), 32);
  return reply;
}

/** RFC 792: type 8 becomes 0, and the checksum grows by what the type lost. */
function echoReply(request: Uint8Array): Uint8Array | undefined {
  if (request[12] !== 8 || request[13] !== 0 || request[23] !== 1 || request[34] !== 8)
    return undefined;
  const reply = request.slice();
  reply.set(request.subarray(6, 12), 0);
  reply.set(request.subarray(0, 6), 6);
  reply.set(request.subarray(30, 34), 26);
  reply.set(request.subarray(26, 30), 30);
  reply[34] = 0;
  const sum = ((reply[36] ?? 0) << 8) + (reply[37] ?? 0) + 0x0800;
  const folded = (sum & 0xffff) + (sum >> 16);
  reply.set([folded >> 8, folded & 0xff], 36);
  return reply;
}
