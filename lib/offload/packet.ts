import { readWord } from './bytes.js';

/** As an IPv4 header and the last header before the transport name them. */
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;

const ETHERTYPE_AT = 12;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
/** IEEE 802.1Q and 802.1ad: four bytes of tag in front of the type. */
const ETHERTYPE_VLAN = 0x8100;
const ETHERTYPE_SERVICE_VLAN = 0x88a8;

const IPV6_HEADER = 40;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const DESTINATION_OPTIONS = 60;

/** Where the parts of an IP packet in a frame begin. */
export interface Packet {
  readonly version: 4 | 6;
  /** Where its IP header begins. */
  readonly ip: number;
  /** Where its end is, as its IP header has it. */
  readonly end: number;
  /** What follows the IP headers, `IPPROTO_*`. Of a header that is not known, that one. */
  readonly protocol: number;
  /** Where that begins. */
  readonly transport: number;
  /** Whether it is a part of a longer packet. IPv6 has a header of its own for that. */
  readonly fragment: boolean;
}

/** Finds the IP packet in an Ethernet frame, also behind VLAN tags; undefined when there is none. */
export function findPacket(frame: Uint8Array): Packet | undefined {
  let at = ETHERTYPE_AT;
  let type = readWord(frame, at);
  while (type === ETHERTYPE_VLAN || type === ETHERTYPE_SERVICE_VLAN) {
    at += 4;
    type = readWord(frame, at);
  }
  const packet = packetAt(frame, at + 2);
  return type === (packet?.version === 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6) ? packet : undefined;
}

/** The IP packet whose header begins there; undefined when none does. */
export function packetAt(frame: Uint8Array, ip: number): Packet | undefined {
  const version = (frame[ip] ?? 0) >> 4;
  if (version === 4) return packet4(frame, ip);
  return version === 6 ? packet6(frame, ip) : undefined;
}

/** Spec: RFC 791 §3.1 "Internet Header Format". */
function packet4(frame: Uint8Array, ip: number): Packet | undefined {
  const headerLength = ((frame[ip] ?? 0) & 0x0f) * 4;
  if (headerLength < 20) return undefined;
  return {
    version: 4,
    ip,
    end: ip + readWord(frame, ip + 2),
    protocol: frame[ip + 9] ?? 0,
    transport: ip + headerLength,
    // More fragments, or an offset.
    fragment: (readWord(frame, ip + 6) & 0x3fff) !== 0,
  };
}

/** Spec: RFC 8200 §3 "IPv6 Header Format", §4 "IPv6 Extension Headers". */
function packet6(frame: Uint8Array, ip: number): Packet {
  let protocol = frame[ip + 6] ?? 0;
  let transport = ip + IPV6_HEADER;
  while (transport < frame.length && isSkipped(frame, protocol, transport)) {
    protocol = frame[transport] ?? 0;
    transport += 8 * (1 + (frame[transport + 1] ?? 0));
  }
  const end = ip + IPV6_HEADER + readWord(frame, ip + 4);
  return { version: 6, ip, end, protocol, transport, fragment: false };
}

/** Whether an extension header means nothing to the transport behind it. */
function isSkipped(frame: Uint8Array, protocol: number, at: number): boolean {
  // With segments left, the pseudo header has another destination than the IPv6 header.
  if (protocol === ROUTING) return frame[at + 3] === 0;
  return protocol === HOP_BY_HOP || protocol === DESTINATION_OPTIONS;
}
