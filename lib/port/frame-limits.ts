import { misuse } from '../errors.js';
import { PLAIN_HEADER, copyHeader, gsoBit, headerFault } from '../ring/net-header.js';
import type { NetHeader } from '../ring/net-header.js';
import { VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_NONE } from '../uapi/virtio-net.js';

/** The shortest frame: an Ethernet header. */
export const MIN_FRAME = 14;

/** What a transmit ring may be given. */
export interface TransmitLimits {
  /** Bytes of the longest frame. */
  readonly longest: number;
  /** Whether the device fills in checksums. */
  readonly checksums: boolean;
  /** Bit set of the GSO types that it segments. */
  readonly gsoTypes: number;
}

/** Which frames a device can act on. */
export class FrameLimits {
  readonly #limits: TransmitLimits;
  /** The header in hand: one for all frames. */
  readonly #header: NetHeader = { ...PLAIN_HEADER };

  constructor(limits: TransmitLimits) {
    this.#limits = limits;
  }

  /**
   * Checks what is to be sent.
   *
   * @returns The header as it was checked: valid until the next call.
   * @throws {RangeError} The length or the header does not fit.
   */
  check(length: number, header: Readonly<NetHeader> | undefined): NetHeader | undefined {
    const { longest, gsoTypes, checksums } = this.#limits;
    if (!(length >= MIN_FRAME && length <= longest)) {
      const range = `${String(MIN_FRAME)} to ${String(longest)} bytes long`;
      throw misuse.range('frame', range, length);
    }
    if (header === undefined) return undefined;
    copyHeader(this.#header, header);
    const fault = headerFault(this.#header, length, gsoTypes, checksums);
    if (fault === undefined) return this.#header;
    throw misuse.range('header', `one the device can act on, not ${fault}`, header);
  }

  /** Whether the device finishes what a received header says is unfinished. */
  accept(header: Readonly<NetHeader>): boolean {
    const { gsoTypes, checksums } = this.#limits;
    if (header.gsoType === VIRTIO_NET_HDR_GSO_NONE) {
      return checksums || (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) === 0;
    }
    return (gsoTypes & gsoBit(header.gsoType)) !== 0;
  }
}
