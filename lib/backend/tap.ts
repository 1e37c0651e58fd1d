import type { Backend, BackendAgreement, BackendLink, BackendQueue } from './backend.js';
import { offloadFlags, probeOffloads } from './tap-offload.js';
import { VhostError, misuse } from '../errors.js';
import { Links, formatMac, openNetns, parseInterfaceAddress, parseMac } from '../sys/link.js';
import type { InterfaceAddress, LinkChange } from '../sys/link.js';
import { Tun } from '../sys/tun.js';
import { IFF_NO_PI, IFF_TAP, IFF_VNET_HDR, IFNAMSIZ } from '../uapi/tun.js';
import { allOrNothing } from '../undo.js';
import type { UndoList } from '../undo.js';

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

/** vhost batches what it hands to a tap only while the tap's send buffer is without a limit. */
const NO_LIMIT = 0x7fffffff;

/** Wide enough for any `struct virtio_net_hdr`, and what an interface has before it is told. */
const LEGACY_HEADER = 10;

interface CheckedTap {
  readonly addresses: readonly InterfaceAddress[];
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

function checkOptions(options: TapOptions): CheckedTap {
  for (const name of Object.keys(options)) {
    if (!KNOWN.includes(name)) throw misuse.unknown(name, KNOWN);
  }
  const { netns, persistent } = options;
  checkName(options.tap);
  if (netns !== undefined && typeof netns !== 'string')
    throw misuse.type('netns', 'a string', netns);
  if (persistent !== undefined && typeof persistent !== 'boolean') {
    throw misuse.type('persistent', 'a boolean', persistent);
  }
  return { addresses: checkAddresses(options.addresses ?? []), change: checkChange(options) };
}

/** Opens the queue, inside the namespace when one was named, and attaches it to the interface. */
function attach(options: TapOptions, undo: UndoList): { tun: Tun; name: string } {
  const netns = options.netns === undefined ? undefined : openNetns(options.netns);
  try {
    const tun = new Tun(netns);
    undo.push(() => {
      tun.close();
    });
    return { tun, name: tun.setIff(options.tap, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) };
  } finally {
    netns?.close();
  }
}

/** A way to the interface's own namespace, wherever that is. */
function openLinks(tun: Tun): Links {
  const netns = tun.getNetns();
  try {
    return new Links(netns);
  } finally {
    netns.close();
  }
}

/** An address that an existing interface has already is what was asked for. */
function ensureAddress(links: Links, index: number, address: InterfaceAddress): void {
  try {
    links.addAddress(index, address);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/**
 * A tap interface as a backend: the host's network stack has an Ethernet interface, and what it
 * sends there comes to our receive ring, what we transmit it receives.
 */
export class Tap implements Backend {
  readonly name: string;
  readonly features: bigint;
  /** One: the tap has no second queue. */
  readonly queues: readonly BackendQueue[];

  readonly #tun: Tun;
  readonly #links: Links;
  readonly #index: number;

  /**
   * Creates the interface, or attaches to the existing one of that name, and sets it up. When a step
   * fails, everything done before it is taken back.
   *
   * @throws {VhostSystemError} The system refused: `request` says what, `code` why.
   * @throws {TypeError} or `RangeError`, naming the option that does not fit.
   */
  static open(options: TapOptions): Tap {
    const { addresses, change } = checkOptions(options);
    return allOrNothing((undo) => {
      const { tun, name } = attach(options, undo);
      const links = openLinks(tun);
      undo.push(() => {
        links.close();
      });
      tun.setSendBuffer(NO_LIMIT);
      tun.setVnetHdrSize(LEGACY_HEADER);
      const tap = new Tap(tun, links, name);
      for (const address of addresses) ensureAddress(links, tap.#index, address);
      links.set(tap.#index, change);
      if (options.persistent !== undefined) tun.setPersist(options.persistent);
      return tap;
    });
  }

  private constructor(tun: Tun, links: Links, name: string) {
    this.#tun = tun;
    this.#links = links;
    this.name = name;
    this.#index = links.get(name).index;
    this.features = probeOffloads(tun);
    this.queues = [tun];
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#tun.closed;
  }

  agree(agreement: BackendAgreement): void {
    this.#tun.setVnetHdrSize(agreement.headerSize);
    const found = this.#tun.getVnetHdrSize();
    if (found !== agreement.headerSize) {
      throw new VhostError(
        'ERR_VHOST_HEADER_SIZE',
        `${this.name} has a header of ${String(found)} bytes after it was set to ${String(agreement.headerSize)}`,
      );
    }
    this.#tun.setOffload(offloadFlags(agreement.features));
  }

  link(): BackendLink {
    const { index, name, up, carrier, mtu, mac, counters } = this.#links.get(this.#index);
    return { index, name, up, carrier, mtu, mac: formatMac(mac), counters };
  }

  close(): void {
    this.#tun.close();
    this.#links.close();
  }

  /** The same as {@link close}: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
