import { readLong, readWord, writeLong, writeWord } from './bytes.js';
import { addSums, pseudoHeader4, pseudoHeader6, sumBytes, toChecksum } from './checksum.js';
import { fitIp, sealIp } from './ip-header.js';
import { IPPROTO_TCP, IPPROTO_UDP, findPacket, packetAt } from './packet.js';
import type { Packet } from './packet.js';
import { Tunnel, outerFault } from './tunnel.js';
import { misuse } from '../errors.js';
import { gsoBit, headerFault } from '../ring/header-fault.js';
import { isTunnelled } from '../ring/net-header.js';
import type { NetHeader } from '../ring/net-header.js';
import {
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL,
} from '../uapi/virtio-net.js';

/** What {@link segment} knows. */
const KNOWN = {
  checksums: true,
  gsoTypes:
    gsoBit(VIRTIO_NET_HDR_GSO_TCPV4) |
    gsoBit(VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN) |
    gsoBit(VIRTIO_NET_HDR_GSO_TCPV6) |
    gsoBit(VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN) |
    gsoBit(VIRTIO_NET_HDR_GSO_UDP_L4),
  tunnels: true,
  tunnelChecksums: true,
};

// Where a field lies in its header.
const TCP_SEQUENCE = 4;
const TCP_HEADER = 20;
const TCP_DATA_OFFSET = 12;
const TCP_FLAGS = 13;
const TCP_CHECKSUM = 16;
const UDP_HEADER = 8;
const UDP_LENGTH = 4;
const UDP_CHECKSUM = 6;

const FIN = 0x01;
const SYN = 0x02;
const RST = 0x04;
const PSH = 0x08;
const URG = 0x20;
const CWR = 0x80;

/** A row of complete frames, in the order in which they are to be sent. */
export interface CompleteFrames extends Iterable<Uint8Array> {
  readonly count: number;
  /** Bytes of every frame but the last, which may be shorter. */
  readonly length: number;
  readonly lastLength: number;
}

/**
 * Cuts a frame with a GSO type into the frames that it stands for, each with its own lengths,
 * sequence number, flags and checksums. The IPv4 identification counts up; CWR stays with the first,
 * FIN and PSH go to the last. Inside a UDP tunnel it is the inner packet that is cut, and each piece gets
 * the outer headers, with lengths, identification and checksums of their own.
 *
 * Where the headers end is read in the frame: `hdrLen` is a hint, and Linux sets it to whatever lies
 * in one piece.
 *
 * @param scratch  Where segments are written, one after the other; as long as the longest.
 * @returns Views of the scratch, each valid until the next is asked for. They are made from the
 * frame while one asks for them.
 * @throws {RangeError} The header does not fit the frame, the frame is not whole, or is none that can
 * be cut: of another protocol, a fragment, with SYN, RST or URG, with a routing header not at its end.
 * Spec: Virtio 1.3 §5.1.6.2 "Packet Transmission", 1.4 for tunnels; RFC 3168 §6.1.2 for CWR.
 */
export function segment(
  frame: Uint8Array,
  header: Readonly<NetHeader>,
  scratch?: Uint8Array,
): CompleteFrames {
  const fault = headerFault(header, frame.length, KNOWN);
  if (fault !== undefined) throw uncut('header', fault, header);
  const tunnel = isTunnelled(header.gsoType) ? findTunnel(frame, header) : undefined;
  const packet = tunnel ? packetAt(frame, header.innerNhOffset ?? 0) : findPacket(frame);
  if (packet === undefined) throw uncut('frame', 'one without an IP packet', frame);
  const unfit = packetFault(frame, packet, header);
  if (unfit !== undefined) throw uncut('frame', unfit, frame);
  return new Segments(frame, packet, header.gsoSize, tunnel, scratch);
}

function findTunnel(frame: Uint8Array, header: Readonly<NetHeader>): Tunnel {
  const outer = findPacket(frame);
  if (outer === undefined) throw uncut('frame', 'one without an outer IP packet', frame);
  const unfit = outerFault(frame, outer, header);
  if (unfit !== undefined) throw uncut('frame', unfit, frame);
  return new Tunnel(frame, outer, header);
}

function uncut(option: string, fault: string, value: unknown): RangeError {
  return misuse.range(option, `fit for segmentation, not ${fault}`, value);
}

/** What keeps a packet from being cut as its header says. */
function packetFault(
  frame: Uint8Array,
  packet: Packet,
  header: Readonly<NetHeader>,
): string | undefined {
  const type = header.gsoType & ~(VIRTIO_NET_HDR_GSO_ECN | VIRTIO_NET_HDR_GSO_UDP_TUNNEL);
  const udp = type === VIRTIO_NET_HDR_GSO_UDP_L4;
  const version = type === VIRTIO_NET_HDR_GSO_TCPV4 ? 4 : 6;
  if (type === 0) return 'one without a GSO type';
  if (packet.version !== version && !udp) return 'of another IP version';
  if (packet.protocol !== (udp ? IPPROTO_UDP : IPPROTO_TCP)) return 'of another protocol';
  if (packet.fragment) return 'a fragment';
  if (packet.end !== frame.length) return 'one with another length than its IP header has';
  if (header.csumStart !== packet.transport) return 'one whose csumStart is not its transport';
  if (header.csumOffset !== (udp ? UDP_CHECKSUM : TCP_CHECKSUM)) return 'one without its checksum';
  return udp ? udpFault(frame, packet) : tcpFault(frame, packet);
}

function udpFault(frame: Uint8Array, { transport }: Packet): string | undefined {
  if (transport + readWord(frame, transport + UDP_LENGTH) === frame.length) return undefined;
  return 'one with another length than its UDP header has';
}

function tcpFault(frame: Uint8Array, { transport }: Packet): string | undefined {
  const length = tcpHeaderLength(frame, transport);
  if (length < TCP_HEADER || transport + length > frame.length) return 'one without a TCP header';
  if (((frame[transport + TCP_FLAGS] ?? 0) & (SYN | RST | URG)) === 0) return undefined;
  return 'one with SYN, RST or URG';
}

function tcpHeaderLength(frame: Uint8Array, transport: number): number {
  return ((frame[transport + TCP_DATA_OFFSET] ?? 0) >> 4) * 4;
}

class Segments implements CompleteFrames {
  readonly count: number;
  readonly length: number;
  readonly lastLength: number;

  readonly #frame: Uint8Array;
  readonly #packet: Packet;
  /** Bytes of payload of each. */
  readonly #size: number;
  /** Bytes of all headers. */
  readonly #headers: number;
  /** The segment in hand. */
  readonly #segment: Uint8Array;
  readonly #pseudoHeader: number;
  /** What is around the packet. */
  readonly #tunnel: Tunnel | undefined;

  constructor(
    frame: Uint8Array,
    packet: Packet,
    size: number,
    tunnel: Tunnel | undefined,
    scratch?: Uint8Array,
  ) {
    const { protocol, transport, version, ip } = packet;
    this.#frame = frame;
    this.#packet = packet;
    this.#size = size;
    this.#tunnel = tunnel;
    this.#headers =
      transport + (protocol === IPPROTO_UDP ? UDP_HEADER : tcpHeaderLength(frame, transport));
    const payload = frame.length - this.#headers;
    this.count = Math.max(1, Math.ceil(payload / size));
    this.length = this.#headers + Math.min(size, payload);
    this.lastLength = frame.length - (this.count - 1) * size;
    this.#segment = (scratch ?? new Uint8Array(this.length)).subarray(0, this.length);
    if (this.#segment.length < this.length) {
      throw misuse.range('scratch', `at least ${String(this.length)} bytes long`, scratch?.length);
    }
    const pseudoHeader = version === 4 ? pseudoHeader4 : pseudoHeader6;
    // The length is added for each segment.
    this.#pseudoHeader = pseudoHeader(frame, ip, protocol, 0);
  }

  *[Symbol.iterator](): Generator<Uint8Array, void> {
    this.#writeHeaders();
    for (let index = 0; index < this.count - 1; index++) {
      this.#write(this.#segment, index);
      yield this.#segment;
    }
    const last = this.#segment.subarray(0, this.lastLength);
    this.#write(last, this.count - 1);
    yield last;
  }

  /** What all segments have in common. */
  #writeHeaders(): void {
    this.#segment.set(this.#frame.subarray(0, this.#headers));
    sealIp(this.#segment, this.#packet);
    this.#tunnel?.seal(this.#segment);
  }

  #write(segment: Uint8Array, index: number): void {
    const from = this.#headers + index * this.#size;
    segment.set(this.#frame.subarray(from, from + segment.length - this.#headers), this.#headers);
    fitIp(segment, this.#packet, this.#frame, index);
    if (this.#packet.protocol === IPPROTO_UDP) {
      writeWord(segment, this.#packet.transport + UDP_LENGTH, this.#transportLength(segment));
      this.#writeChecksum(segment, UDP_CHECKSUM);
    } else {
      this.#writeTcp(segment, index);
      this.#writeChecksum(segment, TCP_CHECKSUM);
    }
    this.#tunnel?.wrap(segment, index);
  }

  #writeTcp(segment: Uint8Array, index: number): void {
    const { transport } = this.#packet;
    const sequence = readLong(this.#frame, transport + TCP_SEQUENCE) + index * this.#size;
    writeLong(segment, transport + TCP_SEQUENCE, sequence);
    let flags = this.#frame[transport + TCP_FLAGS] ?? 0;
    if (index > 0) flags &= ~CWR;
    if (index < this.count - 1) flags &= ~(FIN | PSH);
    segment[transport + TCP_FLAGS] = flags;
  }

  #writeChecksum(segment: Uint8Array, offset: number): void {
    const { transport } = this.#packet;
    writeWord(segment, transport + offset, 0);
    const sum = addSums(this.#pseudoHeader, this.#transportLength(segment));
    const checksum = toChecksum(addSums(sum, sumBytes(segment, transport)));
    writeWord(segment, transport + offset, checksum);
  }

  #transportLength(segment: Uint8Array): number {
    return segment.length - this.#packet.transport;
  }
}
