import { isTunnelled } from './net-header.js';
import type { NetHeader } from './net-header.js';
import { LATEST_HEADER, segmentsFault } from './segment-fault.js';
import { tunnelFault } from './tunnel-fault.js';
import {
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL,
} from '../uapi/virtio-net.js';

/** What a device finishes of the frames that it is given. */
export interface DeviceOffloads {
  /** Whether it fills in checksums. */
  readonly checksums: boolean;
  /** Bit set of the GSO types that it segments: {@link gsoBit}. */
  readonly gsoTypes: number;
  /** Whether it segments frames of these types also inside a UDP tunnel. Default: false. */
  readonly tunnels?: boolean;
  /** Whether it then fills in the outer UDP checksum as well. Default: false. */
  readonly tunnelChecksums?: boolean;
}

/**
 * The bit of a GSO type in a set of them; with and without ECN they are two, for `HOST_ECN` is a
 * feature of its own; inside a tunnel they are the same. 0: no type that a header can have.
 */
export function gsoBit(gsoType: number): number {
  const ecn = gsoType & VIRTIO_NET_HDR_GSO_ECN;
  const type = gsoType & ~(VIRTIO_NET_HDR_GSO_ECN | VIRTIO_NET_HDR_GSO_UDP_TUNNEL);
  return type > 15 ? 0 : 1 << (ecn === 0 ? type : type + 16);
}

/**
 * Whether a header may go to the kernel with a frame of this length. vhost puts a frame back whose
 * header it can't make sense of and tries it again for ever, without telling anybody: such a header
 * must never reach it.
 *
 * @returns What is wrong with it; undefined when it is right.
 */
export function headerFault(
  header: Readonly<NetHeader>,
  length: number,
  device: DeviceOffloads,
): string | undefined {
  if (!isByte(header.flags) || !isByte(header.gsoType)) return 'flags or gsoType beyond a byte';
  const type = header.gsoType & ~VIRTIO_NET_HDR_GSO_ECN;
  if ((header.flags & ~knownFlags(header.gsoType)) !== 0) {
    return 'flags other than NEEDS_CSUM, and UDP_TUNNEL_CSUM with a tunnel';
  }
  if (type !== VIRTIO_NET_HDR_GSO_NONE) return gsoFault(header, length, device);
  if (header.gsoType !== type) return 'ECN without a GSO type';
  const words = lengthFault(header, length);
  return (
    words ?? (header.flags === 0 ? undefined : checksumFault(header, length, device.checksums))
  );
}

function knownFlags(gsoType: number): number {
  return isTunnelled(gsoType)
    ? VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM
    : VIRTIO_NET_HDR_F_NEEDS_CSUM;
}

/** Also of a plain frame: vhost takes hdr_len for the length of what it must copy. */
function lengthFault(header: Readonly<NetHeader>, length: number): string | undefined {
  if (!isWord(header.hdrLen) || header.hdrLen > length) return 'a hdrLen beyond the frame';
  if (!isWord(header.gsoSize)) return 'a gsoSize beyond 16 bits';
  if (!isWord(header.csumStart) || !isWord(header.csumOffset)) return 'a checksum beyond 16 bits';
  const { outerThOffset = 0, innerNhOffset = 0 } = header;
  if (!isWord(outerThOffset) || !isWord(innerNhOffset)) return 'a tunnel beyond 16 bits';
  return undefined;
}

function checksumFault(
  header: Readonly<NetHeader>,
  length: number,
  checksums: boolean,
): string | undefined {
  if (!checksums) return 'NEEDS_CSUM, which was not agreed on';
  const { csumStart, csumOffset } = header;
  if (csumStart > LATEST_HEADER) return `a csumStart beyond ${String(LATEST_HEADER)}`;
  if (csumStart + csumOffset + 2 > length) {
    return `a checksum at ${String(csumStart)}+${String(csumOffset)}, outside the frame`;
  }
  return undefined;
}

function gsoFault(
  header: Readonly<NetHeader>,
  length: number,
  device: DeviceOffloads,
): string | undefined {
  if ((device.gsoTypes & gsoBit(header.gsoType)) === 0) {
    return `GSO type ${String(header.gsoType)}, which was not agreed on`;
  }
  if (header.gsoSize === 0) return 'a GSO type without a gsoSize';
  if ((header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) === 0) return 'a GSO type without NEEDS_CSUM';
  const fault = lengthFault(header, length) ?? checksumFault(header, length, true);
  if (fault !== undefined) return fault;
  if (!isTunnelled(header.gsoType)) return segmentsFault(header, length);
  return agreementFault(header.flags, device) ?? tunnelFault(header, length);
}

function agreementFault(
  flags: number,
  { tunnels = false, tunnelChecksums = false }: DeviceOffloads,
): string | undefined {
  if (!tunnels) return 'a tunnel, which was not agreed on';
  if (!tunnelChecksums && (flags & VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM) !== 0) {
    return 'UDP_TUNNEL_CSUM, which was not agreed on';
  }
  return undefined;
}

function isByte(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xff;
}

function isWord(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff;
}
