import { offloadFlags, probeOffloads } from './tap-offload.js';
import { checkTapOptions } from './tap-options.js';
import type { CheckedTapOptions, TapOptions } from './tap-options.js';
import type { Backend, BackendAgreement, BackendLink, BackendQueue } from './backend.js';
import { VhostError, VhostSystemError } from '../errors.js';
import { Links, formatMac, openNetns } from '../sys/link.js';
import type { InterfaceAddress, LinkChange, NativeDescriptor } from '../sys/link.js';
import { Tun } from '../sys/tun.js';
import { IFF_NO_PI, IFF_TAP, IFF_VNET_HDR } from '../uapi/tun.js';
import { allOrNothing } from '../undo.js';
import type { UndoList } from '../undo.js';

/** vhost batches what it hands to a tap only while the tap's send buffer is without a limit. */
const NO_LIMIT = 0x7fffffff;

/** Wide enough for any `struct virtio_net_hdr`, and what an interface has before it is told. */
const LEGACY_HEADER = 10;

function look<T>(netns: NativeDescriptor | undefined, body: (links: Links) => T): T {
  const links = new Links(netns);
  try {
    return body(links);
  } finally {
    links.close();
  }
}

/** Why an interface took no queue: the kernel has one EINVAL for all causes, the interface tells. */
function whyInvalid(name: string, netns: NativeDescriptor | undefined): string | undefined {
  try {
    const { tap } = look(netns, (links) => links.get(name));
    if (!tap) return `${name} is no tap`;
    return tap.multiQueue ? `${name} was made with multi_queue: make it without` : undefined;
  } catch (error) {
    const absent = (error as NodeJS.ErrnoException).code === 'ENODEV';
    return absent ? `no interface can have the name ${name}` : undefined;
  }
}

/** Makes a queue one of the interface's; its name. */
function join(tun: Tun, name: string, netns: NativeDescriptor | undefined): string {
  try {
    return tun.setIff(name, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
  } catch (error) {
    if (!(error instanceof VhostSystemError) || error.code !== 'EINVAL') throw error;
    const { errno, syscall, request, path } = error;
    throw new VhostSystemError(-errno, syscall, request, path, whyInvalid(name, netns));
  }
}

/** Opens the queue, inside the namespace when one was named, and attaches it to the interface. */
function attach(options: CheckedTapOptions, undo: UndoList): { tun: Tun; name: string } {
  const netns = options.netns === undefined ? undefined : openNetns(options.netns);
  try {
    const tun = new Tun(netns);
    undo.push(() => {
      tun.close();
    });
    return { tun, name: join(tun, options.tap, netns) };
  } finally {
    netns?.close();
  }
}

/** A way to the interface's namespace. Into another than this thread's it takes rights. */
function openLinks(tun: Tun, options: CheckedTapOptions): Links {
  if (options.netns === undefined) return new Links();
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

/** Changes only what differs: who finds the interface as it was asked for needs no right to change it. */
function ensureLink(links: Links, index: number, change: LinkChange): void {
  const { up, mtu, mac } = links.get(index);
  const rest: LinkChange = {};
  if (change.up !== undefined && change.up !== up) rest.up = change.up;
  if (change.mtu !== undefined && change.mtu !== mtu) rest.mtu = change.mtu;
  if (change.mac && formatMac(change.mac) !== formatMac(mac)) rest.mac = change.mac;
  if (Object.keys(rest).length > 0) links.set(index, rest);
}

/** A queue of an interface, and the way to the interface itself. */
interface OpenTap {
  readonly tun: Tun;
  readonly links: Links;
  readonly name: string;
  readonly index: number;
}

/** Creates the interface, or attaches to it, and sets it up; all or nothing. */
function openTap(options: CheckedTapOptions): OpenTap {
  return allOrNothing((undo) => {
    const { tun, name } = attach(options, undo);
    const links = openLinks(tun, options);
    undo.push(() => {
      links.close();
    });
    tun.setSendBuffer(NO_LIMIT);
    tun.setVnetHdrSize(LEGACY_HEADER);
    const { index } = links.get(name);
    for (const address of options.interfaceAddresses) ensureAddress(links, index, address);
    ensureLink(links, index, options.change);
    if (options.persistent !== undefined) tun.setPersist(options.persistent);
    return { tun, links, name, index };
  });
}

/**
 * A tap interface as a backend: the host's network stack has an Ethernet interface, and what it
 * sends there comes to our receive ring, what we transmit it receives.
 */
export class Tap implements Backend {
  readonly name: string;
  readonly features: bigint;

  readonly #options: CheckedTapOptions;
  #open: OpenTap;
  #agreement: BackendAgreement | undefined;

  /**
   * Creates the interface, or attaches to the existing one of that name, and sets it up. When a step
   * fails, everything done before it is taken back.
   *
   * @throws {VhostSystemError} The system refused: `request` says what, `code` why.
   * @throws {TypeError} or `RangeError`, naming the option that does not fit.
   */
  static open(options: TapOptions): Tap {
    const checked = checkTapOptions(options);
    return new Tap(checked, openTap(checked));
  }

  private constructor(options: CheckedTapOptions, open: OpenTap) {
    this.name = open.name;
    // A name that the kernel completed is the name from now on.
    this.#options = { ...options, tap: open.name };
    this.#open = open;
    this.features = probeOffloads(open.tun);
  }

  /** One: the tap has no second queue. */
  get queues(): readonly BackendQueue[] {
    return [this.#open.tun];
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#open.tun.closed;
  }

  agree(agreement: BackendAgreement): void {
    const { tun } = this.#open;
    tun.setVnetHdrSize(agreement.headerSize);
    const found = tun.getVnetHdrSize();
    if (found !== agreement.headerSize) {
      throw new VhostError(
        'ERR_VHOST_HEADER_SIZE',
        `${this.name} has a header of ${String(found)} bytes after it was set to ${String(agreement.headerSize)}`,
      );
    }
    tun.setOffload(offloadFlags(agreement.features));
    this.#agreement = agreement;
  }

  link(): BackendLink {
    const { links, index: own } = this.#open;
    const { index, name, up, carrier, mtu, mac, counters } = links.get(own);
    return { index, name, up, carrier, mtu, mac: formatMac(mac), counters };
  }

  /** A queue whose interface was deleted, or that was detached from it, answers `EBADFD`. */
  lost(): boolean {
    try {
      this.#open.tun.getIff();
      return false;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'EBADFD';
    }
  }

  reopen(): void {
    const before = this.#open;
    this.#open = openTap(this.#options);
    before.tun.close();
    before.links.close();
    if (this.#agreement) this.agree(this.#agreement);
  }

  close(): void {
    this.#open.tun.close();
    this.#open.links.close();
  }

  /** The same as {@link close}: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
