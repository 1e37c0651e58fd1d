/** The Ethernet address of the host that exists only in this process. */
const MAC = Buffer.from([2, 0, 0, 0, 0, 2]);

const ETHERTYPE_AT = 12;
const ARP = 0x0806;
const IPV4 = 0x0800;

/** Bytes before a frame in its slot: `struct virtio_net_hdr_v1`. */
export const HEADER_SIZE = 12;

/** Where the payload of UDP in IPv4 without options begins: Ethernet 14, IPv4 20, UDP 8. */
export const PAYLOAD_AT = 42;

/** What that host answers to a frame: ARP requests, and UDP with the same datagram. Undefined: nothing. */
export function answer(bytes: Buffer): Buffer | undefined {
  const reply = Buffer.concat([bytes.subarray(6, 12), MAC, bytes.subarray(12)]);
  switch (reply.readUInt16BE(ETHERTYPE_AT)) {
    case ARP:
      return answerArp(reply, bytes);
    case IPV4:
      return isUdp(bytes) ? answerUdp(reply, bytes) : undefined;
    default:
      return undefined;
  }
}

/** Whether a frame is an UDP datagram with this payload. */
export function carries(bytes: Buffer, payload: Buffer): boolean {
  return isUdp(bytes) && bytes.subarray(PAYLOAD_AT).equals(payload);
}

function isUdp(bytes: Buffer): boolean {
  return bytes.length >= PAYLOAD_AT && bytes[14] === 0x45 && bytes[23] === 17;
}

function answerArp(reply: Buffer, bytes: Buffer): Buffer | undefined {
  if (reply[21] !== 1) return undefined;
  reply[21] = 2;
  reply.set([...MAC, ...bytes.subarray(38, 42), ...bytes.subarray(22, 32)], 22);
  return reply;
}

/** Addresses and ports change places, which changes neither of the two checksums. */
function answerUdp(reply: Buffer, bytes: Buffer): Buffer {
  const swap = [bytes.subarray(30, 34), bytes.subarray(26, 30)];
  reply.set(Buffer.concat([...swap, bytes.subarray(36, 38), bytes.subarray(34, 36)]), 26);
  return reply;
}
