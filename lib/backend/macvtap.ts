import { HostInterface } from './host-interface.js';
import { checkMacvtapOptions } from './macvtap-options.js';
import type { CheckedMacvtapOptions, MacvtapOptions } from './macvtap-options.js';
import { TunBackend } from './tun-backend.js';
import type { OpenTun, TunOpening } from './tun-backend.js';
import { VhostError, VhostSystemError } from '../errors.js';
import { Links, openNetns } from '../sys/link.js';
import type { NativeDescriptor } from '../sys/link.js';
import { Tun } from '../sys/tun.js';
import { MACVLAN_MODE_PASSTHRU } from '../uapi/link.js';
import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_VNET_HDR } from '../uapi/tun.js';
import { allOrNothing } from '../undo.js';

/** One descriptor is one queue, and several queues may be open at any time. */
const FLAGS = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;

function netnsOf({ netns }: CheckedMacvtapOptions): NativeDescriptor | undefined {
  return netns === undefined ? undefined : openNetns(netns);
}

/** Whether it was created; false: it was there already. */
function create(options: CheckedMacvtapOptions, links: Links): boolean {
  const { macvtap, link, mode } = options;
  if (link === undefined) return false;
  try {
    links.addMacvtap(macvtap, links.get(link).index, mode);
    return true;
  } catch (error) {
    if (!(error instanceof VhostSystemError)) throw error;
    if (error.code === 'EEXIST') return false;
    throw hinted(error, whyRefused(error, options));
  }
}

function whyRefused(
  { code, request }: VhostSystemError,
  { link = '', mode }: CheckedMacvtapOptions,
): string | undefined {
  if (request === 'RTM_GETLINK') return `there is no interface ${link} to create it above`;
  // The kernel has one EINVAL for all causes; with a valid mode this is the usual one.
  if (code !== 'EINVAL') return undefined;
  return mode === MACVLAN_MODE_PASSTHRU
    ? `in mode passthru it has ${link} to itself: delete what else is above it`
    : `not possible above that link, or something in mode passthru has ${link} to itself`;
}

function hinted(error: VhostSystemError, hint: string | undefined): VhostSystemError {
  const { errno, syscall, request, path } = error;
  return hint === undefined ? error : new VhostSystemError(-errno, syscall, request, path, hint);
}

function find(name: string, netns: NativeDescriptor | undefined): HostInterface {
  try {
    return new HostInterface(name, netns);
  } catch (error) {
    if (!(error instanceof VhostSystemError) || error.code !== 'ENODEV') throw error;
    throw hinted(error, `there is no interface ${name}: name the link to create it above`);
  }
}

function openQueue(host: HostInterface, netns: NativeDescriptor | undefined): Tun {
  const tun = Tun.ofMacvtap(host.index, netns);
  try {
    tun.setIff(host.name, FLAGS);
    return tun;
  } catch (error) {
    tun.close();
    throw error;
  }
}

/** By name: the interface is created, or attached to. */
class NamedMacvtap implements TunOpening {
  readonly lostCode = 'ENOLINK';
  readonly #options: CheckedMacvtapOptions;
  #created = false;
  /** Undefined: as it was before. */
  #stays: boolean | undefined;

  constructor(options: CheckedMacvtapOptions) {
    this.#options = options;
    this.#stays = options.persistent;
  }

  open(): OpenTun {
    const options = this.#options;
    return allOrNothing((undo) => {
      const netns = netnsOf(options);
      undo.push(() => netns?.close()); // a second time does nothing
      const host = this.#createOrFind(netns);
      undo.push(() => {
        host.close();
      });
      if (this.#created) {
        undo.push(() => {
          host.delete();
        });
      }
      if (!host.found.macvtap) {
        const kind = host.found.kind ?? 'physical';
        throw new VhostError(
          'ERR_VHOST_BACKEND_TYPE',
          `${host.name} is no macvtap, but of kind ${kind}`,
          'choose another name, or delete that interface',
        );
      }
      host.configure(options);
      const tun = openQueue(host, netns);
      // One that was there may be in use: the kernel does not say how many queues a macvtap has.
      return { tun, host, shared: !this.#created };
    });
  }

  /** What was created and can't be found is not left behind. */
  #createOrFind(netns: NativeDescriptor | undefined): HostInterface {
    const links = new Links(netns);
    this.#created = false;
    try {
      return allOrNothing((undo) => {
        const { macvtap } = this.#options;
        this.#created = create(this.#options, links);
        if (this.#created) {
          undo.push(() => {
            links.delete(links.get(macvtap).index);
          });
        }
        return find(macvtap, netns);
      });
    } finally {
      links.close();
    }
  }

  addQueue({ host }: OpenTun): Tun {
    const netns = netnsOf(this.#options);
    try {
      return openQueue(host, netns);
    } finally {
      netns?.close();
    }
  }

  onClose({ host }: OpenTun): void {
    const stays = this.#stays ?? !this.#created;
    if (!stays) host.delete();
  }

  /** What was there before stays. */
  discard(): void {
    this.#stays = !this.#created;
  }
}

/**
 * A macvtap as a backend: an interface above another, with an address of its own, which has its place
 * on that one's Ethernet. Frames for its address come to our receive ring, and broadcasts; what we
 * transmit leaves by the lower interface. The driver must use the interface's address,
 * {@link BackendLink.mac}. The host itself does not reach it by the lower interface.
 */
export class Macvtap extends TunBackend {
  /**
   * Creates the interface, or attaches to the existing one of that name, and sets it up. When a step
   * fails, everything done before it is taken back.
   *
   * @param queueCount  How many queues it is to have in use.
   * @throws {VhostSystemError} The system refused: `request` says what, `code` why.
   * @throws {VhostError} `ERR_VHOST_BACKEND_TYPE`: an interface of that name is no macvtap.
   * @throws {TypeError} or `RangeError`, naming the option that does not fit.
   */
  static open(options: MacvtapOptions, queueCount = 1): Macvtap {
    const opening = new NamedMacvtap(checkMacvtapOptions(options));
    const macvtap = new Macvtap(opening, opening.open());
    try {
      macvtap.setQueueCount(queueCount);
      return macvtap;
    } catch (error) {
      macvtap.discard();
      throw error;
    }
  }
}
