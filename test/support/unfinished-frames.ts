import type { NetHeader } from '#lib/ring/net-header';

/** What a frame is made of. */
export interface FrameParts {
  readonly payload: Uint8Array;
  readonly gsoSize: number;
  readonly transport?: 'tcp' | 'udp';
  readonly version?: 4 | 6;
  /** VLAN tags, four bytes each, the outermost first. */
  readonly tags?: readonly number[];
  /** IPv4 options. */
  readonly options?: readonly number[];
  /** IPv6 extension headers, which name each other and the transport themselves. */
  readonly extensions?: { readonly first: number; readonly bytes: readonly number[] };
  readonly tcpOptions?: readonly number[];
  /** The low byte of the TCP flags. Default: ACK. */
  readonly flags?: number;
  readonly id?: number;
  readonly sequence?: number;
}

/** A frame as a kernel hands it over that leaves segmentation and checksums to us. */
export interface UnfinishedFrame {
  readonly bytes: Uint8Array;
  readonly header: NetHeader;
  /** Where its parts begin. */
  readonly at: { readonly ip: number; readonly transport: number; readonly payload: number };
}

/** What is around a frame that a UDP tunnel carries. */
export interface TunnelParts {
  readonly version?: 4 | 6;
  /** Whether the outer UDP checksum is to be filled in; else there is none. */
  readonly checksum?: boolean;
  /** VLAN tags of the outer frame, four bytes each, the outermost first. */
  readonly tags?: readonly number[];
  /** What lies between the outer UDP header and the inner frame. Default: a VXLAN header. */
  readonly header?: readonly number[];
  readonly port?: number;
  /** Identification of the outer IPv4 header. */
  readonly id?: number;
}

/** A VXLAN header for network 42. */
const VXLAN = [0x08, 0, 0, 0, 0, 0, 42, 0];

const MACS = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const ADDRESSES = {
  4: [10, 9, 0, 1, 10, 9, 0, 2],
  6: [...Array.from('fd0000000000000a'), ...Array.from('fd0000000000000b')].map((c) =>
    c.charCodeAt(0),
  ),
};

const word = (value: number) => [(value >> 8) & 0xff, value & 0xff];
const long = (value: number) => [...word(value >>> 16), ...word(value)];

/**
 * The ones' complement sum as RFC 1071 defines it, a word at a time and without a thought of speed:
 * what the fast one is held against.
 */
export function slowSum(bytes: Iterable<number>): number {
  const padded = [...bytes, 0];
  let sum = 0;
  for (let i = 0; i + 1 < padded.length; i += 2) {
    sum += 256 * (padded[i] ?? 0) + (padded[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

/** A frame with a GSO type, and with the sum of the pseudo header where the checksum goes. */
export function unfinishedFrame(parts: FrameParts): UnfinishedFrame {
  const { payload, version = 4, transport = 'tcp', tags = [] } = parts;
  const protocol = transport === 'tcp' ? 6 : 17;
  const segment = transport === 'tcp' ? tcpHeader(parts) : udpHeader(parts);
  const length = segment.length + payload.length;
  const csumOffset = transport === 'tcp' ? 16 : 6;
  const pseudoHeader = slowSum([...ADDRESSES[version], ...long(length), ...long(protocol)]);
  segment.splice(csumOffset, 2, ...word(pseudoHeader));
  const ip = version === 4 ? header4(parts, protocol, length) : header6(parts, protocol, length);
  const ethernet = [...MACS, ...tags, ...(version === 4 ? [0x08, 0x00] : [0x86, 0xdd])];
  const bytes = Uint8Array.from([...ethernet, ...ip, ...segment, ...payload]);
  const at = {
    ip: ethernet.length,
    transport: ethernet.length + ip.length,
    payload: bytes.length - payload.length,
  };
  const hdrLen = Math.min(bytes.length, 0xffff);
  return { bytes, header: netHeader(parts, hdrLen, at.transport, csumOffset), at };
}

/** Linux gives as `hdrLen` whatever lies in one piece: here all of it. */
function netHeader(
  { version = 4, transport, gsoSize }: FrameParts,
  hdrLen: number,
  csumStart: number,
  csumOffset: number,
): NetHeader {
  const gsoType = transport === 'udp' ? 5 : version === 4 ? 1 : 4;
  return { flags: 1, gsoType, hdrLen, gsoSize, csumStart, csumOffset };
}

function tcpHeader({ sequence = 1000, flags = 0x10, tcpOptions = [] }: FrameParts): number[] {
  const dataOffset = ((20 + tcpOptions.length) / 4) << 4;
  const fixed = [...word(80), ...word(50000), ...long(sequence), ...long(7), dataOffset, flags];
  return [...fixed, ...word(0x200), 0, 0, 0, 0, ...tcpOptions];
}

function udpHeader({ payload }: FrameParts): number[] {
  return [...word(53), ...word(50000), ...word(8 + payload.length), 0, 0];
}

function header4({ id = 0x1234, options = [] }: FrameParts, next: number, rest: number): number[] {
  const size = 20 + options.length;
  const header = [0x40 | (size / 4), 0, ...word(size + rest), ...word(id), 0x40, 0, 64, next];
  header.push(0, 0, ...ADDRESSES[4], ...options);
  header.splice(10, 2, ...word(~slowSum(header)));
  return header;
}

function header6({ extensions }: FrameParts, next: number, rest: number): number[] {
  const { first, bytes } = extensions ?? { first: next, bytes: [] };
  return [0x60, 0, 0, 0, ...word(bytes.length + rest), first, 64, ...ADDRESSES[6], ...bytes];
}

/** The same frame inside a UDP tunnel, with the outer headers as long as it is. */
export function tunnelled(inner: UnfinishedFrame, parts: TunnelParts = {}): UnfinishedFrame {
  const { version = 4, checksum = false, tags = [], header = VXLAN, port = 4789 } = parts;
  const length = 8 + header.length + inner.bytes.length;
  const ip = version === 4 ? header4(idOf(parts), 17, length) : header6(NOTHING, 17, length);
  const sum = slowSum([...ADDRESSES[version], ...long(length), ...long(17)]);
  const udp = [...word(40000), ...word(port), ...word(length), ...word(checksum ? sum : 0)];
  const ethernet = [...MACS, ...tags, ...(version === 4 ? [0x08, 0x00] : [0x86, 0xdd])];
  const before = [...ethernet, ...ip, ...udp, ...header];
  const offset = before.length;
  const places = {
    outerThOffset: ethernet.length + ip.length,
    innerNhOffset: offset + inner.at.ip,
  };
  return {
    bytes: Uint8Array.from([...before, ...inner.bytes]),
    header: { ...headerInside(inner.header, version, checksum, offset), ...places },
    at: {
      ip: offset + inner.at.ip,
      transport: offset + inner.at.transport,
      payload: offset + inner.at.payload,
    },
  };
}

const NOTHING: FrameParts = { payload: new Uint8Array(0), gsoSize: 0 };

const idOf = ({ id = 0x4321 }: TunnelParts): FrameParts => ({ ...NOTHING, id });

function headerInside(
  header: NetHeader,
  version: 4 | 6,
  checksum: boolean,
  offset: number,
): NetHeader {
  return {
    ...header,
    flags: header.flags | (checksum ? 8 : 0),
    gsoType: header.gsoType | (version === 4 ? 0x20 : 0x40),
    hdrLen: Math.min(header.hdrLen + offset, 0xffff),
    csumStart: header.csumStart + offset,
  };
}
