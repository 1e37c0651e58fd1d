import { LINK_OPTIONS, checkBoolean, checkInteger, checkKnown } from './link-options.js';
import { checkLinkOptions, checkName } from './link-options.js';
import type { CheckedLinkOptions, LinkOptions } from './link-options.js';

/** How to open a packet socket on an interface. */
export interface PacketOptions extends LinkOptions {
  /** Name of an existing Ethernet interface, physical or virtual. */
  packet: string;
  /** Whether frames for any address come, and not only those for the interface's own. Default: true. */
  promiscuous?: boolean;
  /**
   * Bytes of memory for frames that wait to be received: one of 64 KiB takes about 70,000. Beyond
   * `net.core.rmem_max` it takes CAP_NET_ADMIN; without it, the limit is what there is. Default: 8 MiB.
   */
  receiveBuffer?: number;
  /** The same for frames that wait to be sent, with `net.core.wmem_max`. Default: 4 MiB. */
  sendBuffer?: number;
}

const KNOWN = ['packet', ...LINK_OPTIONS, 'promiscuous', 'receiveBuffer', 'sendBuffer'];

/** The kernel doubles what it is told, in 31 bits. */
const LARGEST_BUFFER = 0x3fffffff;

/** Options with every default filled in. */
export interface CheckedPacketOptions extends CheckedLinkOptions {
  readonly packet: string;
  readonly promiscuous: boolean;
  readonly receiveBuffer: number;
  readonly sendBuffer: number;
}

/** @throws {TypeError} or `RangeError`, naming the option that does not fit. */
export function checkPacketOptions(options: PacketOptions): CheckedPacketOptions {
  checkKnown(options, KNOWN);
  const { packet, promiscuous = true } = options;
  const { receiveBuffer = 8 << 20, sendBuffer = 4 << 20 } = options;
  checkName('packet', packet);
  checkBoolean('promiscuous', promiscuous);
  checkInteger('receiveBuffer', receiveBuffer, 4096, LARGEST_BUFFER);
  checkInteger('sendBuffer', sendBuffer, 4096, LARGEST_BUFFER);
  return { ...checkLinkOptions(options), packet, promiscuous, receiveBuffer, sendBuffer };
}
