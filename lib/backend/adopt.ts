import type { Backend } from './backend.js';
import { HostInterface } from './host-interface.js';
import { LINK_OPTIONS, checkInteger, checkKnown, checkLinkOptions } from './link-options.js';
import type { CheckedLinkOptions, LinkOptions } from './link-options.js';
import { Packet, checkEthernet } from './packet.js';
import { TunBackend } from './tun-backend.js';
import type { OpenTun, TunOpening } from './tun-backend.js';
import { VhostError, misuse } from '../errors.js';
import { duplicate, openNetns } from '../sys/link.js';
import type { NativeDescriptor } from '../sys/link.js';
import { PacketSocket } from '../sys/packet-socket.js';
import { Tun } from '../sys/tun.js';
import { IFF_NO_PI, IFF_TAP, IFF_VNET_HDR } from '../uapi/tun.js';
import { allOrNothing } from '../undo.js';
import type { UndoList } from '../undo.js';

/** What somebody has opened already, with rights that this process may lack. */
export interface DescriptorOptions extends LinkOptions {
  /**
   * Number of a descriptor of a tap or macvtap (with `IFF_NO_PI` and `IFF_VNET_HDR`) or of a packet
   * socket that is bound to an interface; several numbers are the queues of one tap or macvtap. They are
   * duplicated, and stay the caller's, who reads nothing from them. The interface is set up and changed
   * only where its namespace is known: named, or told by a tap's descriptor to who has rights there.
   */
  fd: number | readonly number[];
}

const KNOWN = ['fd', ...LINK_OPTIONS];

const NEEDED = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

function checkFds(fd: number | readonly number[]): readonly number[] {
  const fds: readonly unknown[] = Array.isArray(fd) ? fd : [fd];
  if (fds.length === 0) throw misuse.range('fd', 'at least one number', fd);
  for (const one of fds) {
    checkInteger('fd', one, 0, 0x7fffffff);
    if (one === undefined) throw misuse.type('fd', 'a number', one);
  }
  return fds as readonly number[];
}

/** What a queue says of its interface; undefined: it is no queue. */
function interfaceOf(tun: Tun): { name: string; flags: number } | undefined {
  try {
    return tun.getIff();
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'EBADFD') throw wrongType(tun.fd, 'a tun descriptor without an interface');
    if (['ENOTTY', 'EINVAL', 'EBADF', 'ENOTSUP'].includes(code)) return undefined;
    throw error;
  }
}

function wrongType(fd: number, what: string): VhostError {
  return new VhostError(
    'ERR_VHOST_BACKEND_TYPE',
    `descriptor ${String(fd)} is ${what}`,
    'a tap or macvtap with IFF_NO_PI and IFF_VNET_HDR, or a packet socket that is bound, would do',
  );
}

function elsewhere(fd: number, { name }: HostInterface): VhostError {
  return new VhostError(
    'ERR_VHOST_BACKEND_TYPE',
    `descriptor ${String(fd)} is a queue of another ${name} than the one here`,
    'name the netns of its interface',
  );
}

/** Where its interface is; a macvtap does not say, nor does a tap to who has no rights there. */
function netnsOf(tun: Tun, { netns }: CheckedLinkOptions): NativeDescriptor | undefined {
  if (netns !== undefined) return openNetns(netns);
  try {
    return tun.getNetns();
  } catch {
    return undefined;
  }
}

/**
 * The interface of a descriptor. Where its namespace is not known, it is looked for in this thread's, and
 * is not to be changed: what has its name or index here may be another.
 *
 * @throws {RangeError} It was to be changed all the same.
 */
function hostOf(
  nameOrIndex: string | number,
  netns: NativeDescriptor | undefined,
  { interfaceAddresses, change }: CheckedLinkOptions,
  undo: UndoList,
): HostInterface {
  const { mtu, mac, up } = change;
  const values = interfaceAddresses.length > 0 || mtu !== undefined || mac !== undefined;
  if (!netns && (values || up === false)) {
    const expected = 'named, to change an interface that the descriptor does not say the place of';
    throw misuse.range('netns', expected, undefined);
  }
  const host = new HostInterface(nameOrIndex, netns);
  undo.push(() => {
    host.close();
  });
  return host;
}

/** Queues that are open already. */
class AdoptedQueues implements TunOpening {
  readonly lostCode: string;
  readonly #first: OpenTun;
  readonly #rest: Tun[];

  constructor(first: OpenTun, rest: Tun[]) {
    this.#first = first;
    this.#rest = rest;
    this.lostCode = first.host.found.macvtap ? 'ENOLINK' : 'EBADFD';
  }

  open(): OpenTun {
    const { name } = this.#first.host;
    throw new VhostError(
      'ERR_VHOST_BACKEND_LOST',
      `${name} is gone, and was opened by somebody else`,
    );
  }

  addQueue(): Tun {
    const next = this.#rest.shift();
    if (next) return next;
    throw new VhostError(
      'ERR_VHOST_BACKEND_QUEUES',
      'the backend has as many queues as descriptors were given',
      'give more descriptors, or open it by its name',
    );
  }
}

/** A tap or macvtap that was opened by somebody else. */
class AdoptedTun extends TunBackend {
  static adopt(first: OpenTun, rest: Tun[]): AdoptedTun {
    const count = 1 + rest.length;
    const backend = new AdoptedTun(new AdoptedQueues(first, rest), first);
    backend.setQueueCount(count);
    return backend;
  }
}

function adoptTuns(
  tuns: readonly [Tun, ...Tun[]],
  name: string,
  options: CheckedLinkOptions,
  undo: UndoList,
): Backend {
  const [first, ...rest] = tuns;
  for (const tun of tuns) {
    const found = interfaceOf(tun);
    if (found?.name !== name) throw wrongType(tun.fd, `no queue of ${name}`);
    if ((found.flags & NEEDED) !== NEEDED) throw wrongType(tun.fd, 'a queue with other flags');
  }
  const netns = netnsOf(first, options);
  const host = hostOf(name, netns, options, undo);
  if (!host.found.tap && !host.found.macvtap) throw elsewhere(first.fd, host);
  if (netns) host.configure(options);
  // Of a macvtap the kernel does not say how many queues it has.
  const shared = !host.found.tap || (host.found.tap.queueCount ?? 1) > tuns.length;
  return AdoptedTun.adopt({ tun: first, host, shared }, rest);
}

function adoptPacket(
  descriptor: NativeDescriptor,
  options: CheckedLinkOptions,
  undo: UndoList,
): Backend {
  const socket = PacketSocket.of(descriptor);
  let index: number;
  try {
    index = socket.index();
  } catch {
    throw wrongType(descriptor.fd, 'no tap, no macvtap and no packet socket');
  }
  if (index <= 0) throw wrongType(descriptor.fd, 'a packet socket without an interface');
  const netns = options.netns === undefined ? undefined : openNetns(options.netns);
  const host = hostOf(index, netns, options, undo);
  checkEthernet(host);
  if (netns) host.configure(options);
  return Packet.adopt({ host, socket });
}

/**
 * Makes a backend of descriptors.
 *
 * @throws {VhostError} `ERR_VHOST_BACKEND_TYPE`: a descriptor of something else, or of an interface that
 * is not in this namespace.
 * @throws {VhostSystemError} `EBADF`: no open descriptor.
 * @throws {TypeError} or `RangeError`, naming the option that does not fit.
 */
export function adoptDescriptors(options: DescriptorOptions): Backend {
  checkKnown(options, KNOWN);
  const fds = checkFds(options.fd);
  const checked = checkLinkOptions(options);
  return allOrNothing((undo) => {
    const descriptors = fds.map((fd) => {
      const descriptor = duplicate(fd);
      undo.push(() => {
        descriptor.close();
      });
      return descriptor;
    });
    const [first, ...rest] = descriptors.map((one) => Tun.of(one));
    if (!first) throw misuse.range('fd', 'at least one number', options.fd);
    const found = interfaceOf(first);
    if (found) return adoptTuns([first, ...rest], found.name, checked, undo);
    if (descriptors.length > 1 || !descriptors[0]) {
      throw wrongType(first.fd, 'no queue of an interface');
    }
    return adoptPacket(descriptors[0], checked, undo);
  });
}
