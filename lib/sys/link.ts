import net from 'node:net';

import { native } from '../native.js';
import type { NativeDescriptor, NativeLink, NativeLinkEvent, NativeWatcher } from '../native.js';

export type {
  NativeDescriptor,
  NativeLink,
  NativeLinkCounters,
  NativeLinkEvent,
} from '../native.js';

/** An interface address with the length of its network's prefix. */
export interface InterfaceAddress {
  readonly bytes: Uint8Array;
  readonly prefixLength: number;
}

/** What of an interface to change; what is left out stays. */
export interface LinkChange {
  up?: boolean;
  /** Bytes, Ethernet header not counted. */
  mtu?: number;
  mac?: Uint8Array;
}

/**
 * Opens a network namespace.
 *
 * @param nameOrPath  A name under `/run/netns`, as `ip netns add` makes it, or a path.
 */
export function openNetns(nameOrPath: string): NativeDescriptor {
  const path = nameOrPath.includes('/') ? nameOrPath : `/run/netns/${nameOrPath}`;
  return native.descriptorOpen(path, false);
}

/**
 * A copy of a descriptor of this process: whoever has the number goes on having it.
 *
 * @throws {VhostSystemError} `EBADF`: there is none of that number.
 */
export function duplicate(fd: number): NativeDescriptor {
  return native.descriptorDuplicate(fd);
}

/** The interfaces of one network namespace, through rtnetlink. */
export class Links {
  readonly #descriptor: NativeDescriptor;

  /**
   * @param netns  Undefined: this thread's namespace. Only read here.
   * @throws {VhostSystemError} Of `setns`, `EPERM`: no right to enter it.
   */
  constructor(netns?: NativeDescriptor) {
    this.#descriptor = native.netlinkOpen(netns);
  }

  /** @throws {VhostSystemError} `ENODEV`: no such interface. */
  get(nameOrIndex: string | number): NativeLink {
    return native.linkGet(this.#descriptor, nameOrIndex);
  }

  /**
   * @throws {VhostSystemError} `EPERM`: no CAP_NET_ADMIN; `EINVAL`: an MTU it can't have;
   * `EADDRNOTAVAIL`: a group's address.
   */
  set(index: number, change: LinkChange): void {
    native.linkSet(this.#descriptor, index, change.up, change.mtu, change.mac);
  }

  /**
   * Creates a macvtap.
   *
   * @param lower  Index of the interface that it is above.
   * @param mode  `MACVLAN_MODE_*`.
   * @throws {VhostSystemError} `EEXIST`: there is an interface of that name; `EBUSY`: what is there has
   * the lower interface to itself, or would not let this one; `EPERM`: no CAP_NET_ADMIN.
   */
  addMacvtap(name: string, lower: number, mode: number): void {
    native.linkAddMacvtap(this.#descriptor, name, lower, mode);
  }

  /** Deletes an interface. */
  delete(index: number): void {
    native.linkDelete(this.#descriptor, index);
  }

  /** @throws {VhostSystemError} `EPERM`: no CAP_NET_ADMIN; `EEXIST`: it has that address. */
  addAddress(index: number, address: InterfaceAddress): void {
    native.addressAdd(this.#descriptor, index, address.bytes, address.prefixLength);
  }

  close(): void {
    this.#descriptor.close();
  }
}

/**
 * What the kernel tells of one interface without being asked, on the event loop. It keeps no process
 * alive.
 */
export class LinkEvents {
  readonly #descriptor: NativeDescriptor;
  readonly #watcher: NativeWatcher;

  /**
   * @param netns  The interface's namespace; undefined = this thread's.
   * @param onEvents  Gets them in their order; null: they were too many, and some are lost.
   */
  constructor(
    index: number,
    netns: NativeDescriptor | undefined,
    onEvents: (events: readonly NativeLinkEvent[] | null) => void,
  ) {
    this.#descriptor = native.linkEventsOpen(index, netns);
    try {
      this.#watcher = new native.Watcher(this.#descriptor, onEvents);
    } catch (error) {
      this.#descriptor.close();
      throw error;
    }
    this.#watcher.unref();
  }

  close(): void {
    this.#watcher.close();
    this.#descriptor.close();
  }
}

/** The bytes of an IPv6 address in text. */
function ipv6Bytes(text: string): Uint8Array {
  const [head = '', tail] = text.split('::');
  const words = (part: string) => (part === '' ? [] : part.split(':').flatMap(ipv6Word));
  const first = words(head);
  const last = tail === undefined ? [] : words(tail);
  const zeros = new Array<number>(8 - first.length - last.length).fill(0);
  return Uint8Array.from([...first, ...zeros, ...last].flatMap((word) => [word >> 8, word & 0xff]));
}

/** One group of hexadecimal digits, or the dotted quad that may stand at the end. */
function ipv6Word(group: string): number[] {
  if (!group.includes('.')) return [parseInt(group, 16)];
  const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
  return [(a << 8) | b, (c << 8) | d];
}

/** `10.9.0.1/24` or `fd00::1/64`; undefined when it is neither, or has a zone. */
export function parseInterfaceAddress(text: string): InterfaceAddress | undefined {
  const [, address = '', prefix = ''] = /^([^/%]+)\/(\d+)$/.exec(text) ?? [];
  const family = net.isIP(address);
  const prefixLength = Number(prefix);
  const longest = family === 4 ? 32 : 128;
  if (family === 0 || prefixLength > longest) return undefined;
  const bytes = family === 4 ? Uint8Array.from(address.split('.').map(Number)) : ipv6Bytes(address);
  return { bytes, prefixLength };
}

/** `02:00:00:00:00:01`; undefined when it is none. */
export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined;
  return Uint8Array.from(text.split(':').map((byte) => parseInt(byte, 16)));
}

/** `02:00:00:00:00:01` of 6 bytes. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
