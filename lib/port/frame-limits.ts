import { misuse } from '../errors.js';
import { gsoBit, headerFault } from '../ring/header-fault.js';
import type { DeviceOffloads } from '../ring/header-fault.js';
import { PLAIN_HEADER, copyHeader, isTunnelled } from '../ring/net-header.js';
import type { NetHeader } from '../ring/net-header.js';
import {
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM,
  VIRTIO_NET_HDR_GSO_NONE,
} from '../uapi/virtio-net.js';

/** The shortest frame: an Ethernet header. */
export const MIN_FRAME = 14;

/** What a transmit ring may be given. */
export interface TransmitLimits extends DeviceOffloads {
  /** Bytes of the longest frame. */
  readonly longest: number;
  /** Of the longest without a GSO type. Default: the same. */
  readonly longestPlain?: number;
}

/** Which frames a device can act on. */
export class FrameLimits {
  readonly #limits: TransmitLimits;
  readonly #longestPlain: number;
  /** The header in hand: one for all frames. */
  readonly #header = { ...PLAIN_HEADER };

  constructor(limits: TransmitLimits) {
    this.#limits = limits;
    this.#longestPlain = Math.min(limits.longestPlain ?? limits.longest, limits.longest);
  }

  /**
   * Checks what is to be sent.
   *
   * @returns The header as it was checked: valid until the next call.
   * @throws {RangeError} The length or the header does not fit.
   */
  check(length: number, header: Readonly<NetHeader> | undefined): NetHeader | undefined {
    if (header === undefined) {
      checkLength(length, this.#longestPlain);
      return undefined;
    }
    copyHeader(this.#header, header);
    const plain = this.#header.gsoType === VIRTIO_NET_HDR_GSO_NONE;
    checkLength(length, plain ? this.#longestPlain : this.#limits.longest);
    const fault = headerFault(this.#header, length, this.#limits);
    if (fault === undefined) return this.#header;
    throw misuse.range('header', `one the device can act on, not ${fault}`, header);
  }

  /** Checks what is to be sent with a header that is not known yet. */
  checkLength(length: number): void {
    checkLength(length, this.#limits.longest);
  }

  /** Whether the device finishes what a received header says is unfinished. */
  accept(header: Readonly<NetHeader>): boolean {
    const { gsoTypes, checksums } = this.#limits;
    if (header.gsoType === VIRTIO_NET_HDR_GSO_NONE) {
      return checksums || (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) === 0;
    }
    if ((gsoTypes & gsoBit(header.gsoType)) === 0) return false;
    return !isTunnelled(header.gsoType) || this.#acceptsTunnel(header.flags);
  }

  #acceptsTunnel(flags: number): boolean {
    const { tunnels = false, tunnelChecksums = false } = this.#limits;
    return tunnels && (tunnelChecksums || (flags & VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM) === 0);
  }
}

function checkLength(length: number, longest: number): void {
  if (Number.isInteger(length) && length >= MIN_FRAME && length <= longest) return;
  throw misuse.range('frame', `${String(MIN_FRAME)} to ${String(longest)} bytes long`, length);
}
