import { readWord, writeWord } from './bytes.js';
import { addSums, pseudoHeader4, pseudoHeader6, sumBytes, toChecksum } from './checksum.js';
import { fitIp, sealIp } from './ip-header.js';
import { IPPROTO_UDP } from './packet.js';
import type { Packet } from './packet.js';
import type { NetHeader } from '../ring/net-header.js';
import {
  VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4,
} from '../uapi/virtio-net.js';

const UDP_LENGTH = 4;
const UDP_CHECKSUM = 6;

/** What keeps a packet from being the tunnel that a header says is around another. */
export function outerFault(
  frame: Uint8Array,
  outer: Packet,
  header: Readonly<NetHeader>,
): string | undefined {
  const isOver4 = (header.gsoType & VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4) !== 0;
  const { transport } = outer;
  if (outer.version !== (isOver4 ? 4 : 6)) return 'a tunnel over another IP version';
  if (outer.protocol !== IPPROTO_UDP) return 'a tunnel of another protocol';
  if (outer.fragment) return 'a fragment';
  if (outer.end !== frame.length) return 'one with another length than its outer IP header has';
  if (transport !== header.outerThOffset) return 'one whose outerThOffset is not its outer UDP';
  if (transport + readWord(frame, transport + UDP_LENGTH) !== frame.length) {
    return 'one with another length than its outer UDP header has';
  }
  return undefined;
}

/**
 * The IP and UDP header around segments, which have each their own; what lies between those and the inner
 * packet is the same in all. A UDP checksum of 0 says that there is none, and stays.
 *
 * Spec: RFC 7348 §5 "VXLAN Frame Format"; RFC 8926 §3.3 "UDP Header"; RFC 6935 for IPv6.
 */
export class Tunnel {
  readonly #frame: Uint8Array;
  readonly #outer: Packet;
  readonly #hasChecksum: boolean;
  readonly #pseudoHeader: number;

  /** @param outer  One in which {@link outerFault} found nothing wrong. */
  constructor(frame: Uint8Array, outer: Packet, header: Readonly<NetHeader>) {
    const { version, ip, transport } = outer;
    this.#frame = frame;
    this.#outer = outer;
    const isWanted = (header.flags & VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM) !== 0;
    this.#hasChecksum = isWanted || readWord(frame, transport + UDP_CHECKSUM) !== 0;
    const pseudoHeader = version === 4 ? pseudoHeader4 : pseudoHeader6;
    // The length is added for each segment.
    this.#pseudoHeader = pseudoHeader(frame, ip, IPPROTO_UDP, 0);
  }

  /** Prepares headers that all segments repeat. */
  seal(headers: Uint8Array): void {
    sealIp(headers, this.#outer);
  }

  /** Writes what a segment's tunnel has for itself. Last of all: the checksum is over all that it carries. */
  wrap(segment: Uint8Array, index: number): void {
    const { transport } = this.#outer;
    const length = segment.length - transport;
    fitIp(segment, this.#outer, this.#frame, index);
    writeWord(segment, transport + UDP_LENGTH, length);
    if (!this.#hasChecksum) return;
    writeWord(segment, transport + UDP_CHECKSUM, 0);
    const sum = addSums(addSums(this.#pseudoHeader, length), sumBytes(segment, transport));
    writeWord(segment, transport + UDP_CHECKSUM, toChecksum(sum));
  }
}
