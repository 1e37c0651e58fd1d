import { misuse } from '../errors.js';
import { parseInterfaceAddress, parseMac } from '../sys/link.js';
import type { InterfaceAddress, LinkChange } from '../sys/link.js';
import { IFNAMSIZ } from '../uapi/tun.js';

/** What can be said of the host's side of any backend. */
export interface LinkOptions {
  /** Addresses for the host's side, such as `10.9.0.1/24` or `fd00::1/64`. */
  addresses?: readonly string[];
  /** Bytes, Ethernet header not counted, 68 to 65521. Default: the interface keeps its own. */
  mtu?: number;
  /** The interface's Ethernet address. Default: it keeps its own. */
  mac?: string;
  /** Whether to set the interface up. Default: true. */
  up?: boolean;
  /**
   * The network namespace of the interface: a name of `ip netns`, or a path. Default: this thread's,
   * or, with a descriptor, where its interface is.
   */
  netns?: string;
}

/** The names of {@link LinkOptions}. */
export const LINK_OPTIONS: readonly string[] = ['addresses', 'mtu', 'mac', 'up', 'netns'];

/** The same in the form in which the kernel wants them. */
export interface CheckedLinkOptions {
  readonly interfaceAddresses: readonly InterfaceAddress[];
  readonly change: LinkChange;
  readonly netns: string | undefined;
}

/** @throws {TypeError} An option that nobody knows. */
export function checkKnown(options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw misuse.unknown(name, known);
  }
}

/** @throws {TypeError} or `RangeError`: no name that an interface can have. */
export function checkName(option: string, name: unknown): asserts name is string {
  if (typeof name !== 'string') throw misuse.type(option, 'a string', name);
  const length = Buffer.byteLength(name);
  if (length < 1 || length >= IFNAMSIZ || /[/\s\0]/.test(name)) {
    throw misuse.range(option, 'a name of 1 to 15 bytes without "/" and white space', name);
  }
}

/** @throws {TypeError} It is there, and no boolean. */
export function checkBoolean(option: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'boolean') {
    throw misuse.type(option, 'a boolean', value);
  }
}

/** @throws {TypeError} or `RangeError`: it is there, and no integer of these. */
export function checkInteger(option: string, value: unknown, from: number, to: number): void {
  if (value === undefined) return;
  const range = `an integer in ${String(from)}..${String(to)}`;
  if (typeof value !== 'number') throw misuse.type(option, 'an integer', value);
  if (!Number.isInteger(value) || value < from || value > to) {
    throw misuse.range(option, range, value);
  }
}

function checkChange({ mtu, mac, up = true }: LinkOptions): LinkChange {
  checkBoolean('up', up);
  checkInteger('mtu', mtu, 68, 65521);
  const change: LinkChange = { up };
  if (mtu !== undefined) change.mtu = mtu;
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
export function checkLinkOptions(options: LinkOptions): CheckedLinkOptions {
  const { netns, addresses = [] } = options;
  if (netns !== undefined && typeof netns !== 'string') {
    throw misuse.type('netns', 'a string', netns);
  }
  const interfaceAddresses = checkAddresses(addresses);
  return { netns, interfaceAddresses, change: checkChange(options) };
}
