import { misuse } from '../errors.js';
import { parseInterfaceAddress, parseMac } from '../sys/link.js';
import type { InterfaceAddress, LinkChange } from '../sys/link.js';
import { IFNAMSIZ } from '../uapi/tun.js';

/** How to create a tap, or to attach to one. */
export interface TapOptions {
  /**
   * The interface's name, 1 to 15 bytes. `%d` in it lets the kernel choose a number. An existing
   * tap of that name is attached to.
   */
  tap: string;
  /** Addresses for the host's side of the tap, such as `10.9.0.1/24` or `fd00::1/64`. */
  addresses?: readonly string[];
  /** Bytes, Ethernet header not counted, 68 to 65521. Default: the interface keeps its own. */
  mtu?: number;
  /** The host side's Ethernet address. Default: the interface keeps its own. */
  mac?: string;
  /** Whether to set the interface up. Default: true. */
  up?: boolean;
  /** The network namespace to create it in: a name of `ip netns`, or a path. */
  netns?: string;
  /** Let the interface stay after {@link Tap.close}. Default: it keeps what it has. */
  persistent?: boolean;
}

const KNOWN = ['tap', 'addresses', 'mtu', 'mac', 'up', 'netns', 'persistent'];

/** Options in the form in which the kernel wants them. */
export interface CheckedTapOptions extends TapOptions {
  readonly interfaceAddresses: readonly InterfaceAddress[];
  readonly change: LinkChange;
}

function checkName(name: unknown): void {
  if (typeof name !== 'string') throw misuse.type('tap', 'a string', name);
  const length = Buffer.byteLength(name);
  if (length < 1 || length >= IFNAMSIZ || /[/\s\0]/.test(name)) {
    throw misuse.range('tap', 'a name of 1 to 15 bytes without "/" and white space', name);
  }
}

function checkChange(options: TapOptions): LinkChange {
  const { mtu, mac, up = true } = options;
  const change: LinkChange = { up };
  if (typeof up !== 'boolean') throw misuse.type('up', 'a boolean', up);
  if (mtu !== undefined) {
    if (typeof mtu !== 'number') throw misuse.type('mtu', 'an integer', mtu);
    if (!Number.isInteger(mtu) || mtu < 68 || mtu > 65521) {
      throw misuse.range('mtu', 'an integer in 68..65521', mtu);
    }
    change.mtu = mtu;
  }
  if (mac !== undefined) {
    const bytes = parseMac(mac);
    if (!bytes) throw misuse.range('mac', 'six hexadecimal bytes such as 02:00:00:00:00:01', mac);
    change.mac = bytes;
  }
  return change;
}

function checkAddresses(addresses: readonly string[]): InterfaceAddress[] {
  if (!Array.isArray(addresses)) throw misuse.type('addresses', 'an array of strings', addresses);
  return addresses.map((text) => {
    const address = typeof text === 'string' ? parseInterfaceAddress(text) : undefined;
    if (!address) throw misuse.range('addresses', 'addresses such as 10.9.0.1/24', text);
    return address;
  });
}

/** @throws {TypeError} or `RangeError`, naming the option that does not fit. */
export function checkTapOptions(options: TapOptions): CheckedTapOptions {
  for (const name of Object.keys(options)) {
    if (!KNOWN.includes(name)) throw misuse.unknown(name, KNOWN);
  }
  const { netns, persistent } = options;
  checkName(options.tap);
  if (netns !== undefined && typeof netns !== 'string') {
    throw misuse.type('netns', 'a string', netns);
  }
  if (persistent !== undefined && typeof persistent !== 'boolean') {
    throw misuse.type('persistent', 'a boolean', persistent);
  }
  const interfaceAddresses = checkAddresses(options.addresses ?? []);
  return { ...options, interfaceAddresses, change: checkChange(options) };
}
