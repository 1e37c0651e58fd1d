import { applyFilter, clearFilter } from './tun-filter.js';
import { offloadFlags, probeOffloads, usualOffloads } from './tun-offload.js';
import type {
  Backend,
  BackendAgreement,
  BackendLink,
  BackendQueue,
  LinkListener,
  ReceiveFilter,
} from './backend.js';
import type { HostInterface } from './host-interface.js';
import { VhostError } from '../errors.js';
import type { Tun } from '../sys/tun.js';

/** An interface with its first queue, ready for an agreement. */
export interface OpenTun {
  readonly host: HostInterface;
  readonly tun: Tun;
  /** Whether others have queues of it, which go by what is in force there. */
  readonly shared: boolean;
}

/** How an interface with queues is opened, and opened again. */
export interface TunOpening {
  /** Opens it with its first queue, all or nothing. */
  open(): OpenTun;
  /** Opens one more queue of it. */
  addQueue(open: OpenTun): Tun;
  /** What must be before queues are added, also those that were detached. */
  beforeQueues?(open: OpenTun): void;
  /** And what behind. */
  afterQueues?(open: OpenTun): void;
  /** Lets nothing more come to the queues from `count` on; what ends that, or undefined: it can't be. */
  steerAway?(open: OpenTun, count: number, inUse: number): (() => void) | undefined;
  /** What the first queue answers to `TUNGETIFF` when its interface is gone. */
  readonly lostCode: string;
  /** What is to be done when it is let go of, with every queue closed. */
  onClose?(open: OpenTun): void;
  /** Takes back that it was to stay, where it was made for this. Before its queues are closed. */
  discard?(open: OpenTun): void;
  /** Lets go of what is kept for opening it again. */
  close?(): void;
}

/** vhost batches what it hands to a queue only while the queue's send buffer is without a limit. */
const NO_LIMIT = 0x7fffffff;

/** Wide enough for any `struct virtio_net_hdr`, and what an interface has before it is told. */
const LEGACY_HEADER = 10;

/** Room for what is said of tunnels: `struct virtio_net_hdr_v1_hash_tunnel`. */
const TUNNEL_HEADER = 24;

/** Whether others have queues of an interface now. Of a macvtap, whose queues each have a header of their own, no. */
function hasOthers({ host, shared }: OpenTun): boolean {
  return shared && (host.found.tap?.queueCount ?? 1) > 1;
}

/** Whether frames can be kept away. If so, none is from here on. */
function canFilter({ tun, host, shared }: OpenTun): boolean {
  return !shared && host.found.tap !== undefined && clearFilter(tun);
}

/** An interface whose queues are descriptors with the ioctls of tun: a tap, or a macvtap. */
export abstract class TunBackend implements Backend {
  readonly name: string;
  readonly features: bigint;
  /** Of a tap whose queues are all ours: the filter is the interface's. */
  readonly setReceiveFilter?: (filter: ReceiveFilter | undefined) => boolean;

  readonly #opening: TunOpening;
  #open: OpenTun;
  /** Those in use, and behind them those that are detached. */
  #tuns: Tun[];
  #count = 1;
  #inUse: readonly Tun[];
  #agreement: BackendAgreement | undefined;
  /** Bytes of the header with which others use the interface; undefined: nobody else does. */
  #othersHeader: number | undefined;
  #filter: ReceiveFilter | undefined;
  #listener: LinkListener | undefined;
  /** What {@link steerAway} began stays with the interface, which may stay too. */
  #endSteering: (() => void) | undefined;

  /** @internal */
  protected constructor(opening: TunOpening, open: OpenTun) {
    this.#opening = opening;
    this.#open = open;
    this.#inUse = this.#tuns = [open.tun];
    this.name = open.host.name;
    try {
      this.features = this.#prepare(open);
      if (canFilter(open)) {
        this.setReceiveFilter = (filter) => {
          this.#filter = filter;
          return applyFilter(this.#open.tun, filter);
        };
      }
    } catch (error) {
      this.discard();
      throw error;
    }
  }

  get queues(): readonly BackendQueue[] {
    return this.#inUse;
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#open.tun.closed;
  }

  setQueueCount(count: number): void {
    if (count > this.#count) this.#grow(count);
    while (this.#count > count) this.#detachLast();
  }

  steerAway(count: number): (() => void) | undefined {
    const end = this.#opening.steerAway?.(this.#open, count, this.#count);
    if (!end) return undefined;
    this.#endSteering = end;
    return () => {
      this.#endSteering = undefined;
      end();
    };
  }

  agree(agreement: BackendAgreement): void {
    this.#checkShared(agreement.headerSize);
    for (const tun of this.#inUse) this.#agree(tun, agreement);
    this.#agreement = agreement;
  }

  link(): BackendLink {
    return this.#open.host.link();
  }

  watch(listener: LinkListener): void {
    this.#listener = listener;
    this.#open.host.watch(listener);
  }

  lost(): boolean {
    try {
      this.#open.tun.getIff();
      return false;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === this.#opening.lostCode;
    }
  }

  reopen(): void {
    const { host } = this.#open;
    const before = this.#tuns;
    const count = this.#count;
    this.#open = this.#opening.open();
    this.#inUse = this.#tuns = [this.#open.tun];
    this.#count = 1;
    host.close();
    for (const tun of before) tun.close();
    this.#prepare(this.#open);
    this.setQueueCount(count);
    if (this.#agreement) this.agree(this.#agreement);
    if (this.#filter) applyFilter(this.#open.tun, this.#filter);
    if (this.#listener) this.#open.host.watch(this.#listener);
  }

  close(): void {
    if (this.closed) return;
    const isLost = this.lost();
    try {
      this.#endSteering?.();
      if (this.#filter && !isLost) applyFilter(this.#open.tun, undefined);
    } finally {
      for (const tun of this.#tuns) tun.close();
      this.#closeHost(isLost);
    }
  }

  #closeHost(isLost: boolean): void {
    try {
      if (!isLost) this.#opening.onClose?.(this.#open);
    } finally {
      this.#open.host.close();
      this.#opening.close?.();
    }
  }

  discard(): void {
    try {
      if (!this.closed && !this.lost()) this.#opening.discard?.(this.#open);
    } finally {
      this.close();
    }
  }

  /** The same as {@link close}: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** What it can do. Nothing is changed under those who use it already. */
  #prepare(open: OpenTun): bigint {
    const { tun, shared, host } = open;
    tun.setSendBuffer(NO_LIMIT);
    if (shared) {
      const header = tun.getVnetHdrSize();
      this.#othersHeader = hasOthers(open) && header > LEGACY_HEADER ? header : undefined;
      const isLong = this.#othersHeader === undefined || header === TUNNEL_HEADER;
      return usualOffloads(isLong && host.found.tap !== undefined);
    }
    this.#othersHeader = undefined;
    tun.setVnetHdrSize(LEGACY_HEADER);
    return probeOffloads(tun);
  }

  /** It is the interface's, and who has another would take every frame for garbled. */
  #checkShared(headerSize: number): void {
    const others = this.#othersHeader;
    if (others === undefined || others === headerSize) return;
    throw new VhostError(
      'ERR_VHOST_HEADER_SIZE',
      `${this.name} is in use with a header of ${String(others)} bytes, not of ${String(headerSize)}`,
      'open it with the same offloads as those who use it',
    );
  }

  #grow(count: number): void {
    const before = this.#count;
    this.#opening.beforeQueues?.(this.#open);
    try {
      while (this.#count < count) this.#addQueue();
    } catch (error) {
      while (this.#count > before) this.#detachLast();
      throw error;
    } finally {
      this.#opening.afterQueues?.(this.#open);
    }
  }

  #addQueue(): void {
    const detached = this.#tuns[this.#count];
    if (detached) {
      detached.setQueue(true);
    } else {
      const tun = this.#opening.addQueue(this.#open);
      this.#tuns.push(tun);
      tun.setSendBuffer(NO_LIMIT);
      // A macvtap's queues each have their own.
      if (this.#agreement) this.#agree(tun, this.#agreement);
    }
    this.#use(this.#count + 1);
  }

  #detachLast(): void {
    this.#tuns[this.#count - 1]?.setQueue(false);
    this.#use(this.#count - 1);
  }

  #use(count: number): void {
    this.#count = count;
    this.#inUse = this.#tuns.slice(0, count);
  }

  #agree(tun: Tun, { headerSize, features }: BackendAgreement): void {
    tun.setVnetHdrSize(headerSize);
    const found = tun.getVnetHdrSize();
    if (found !== headerSize) {
      throw new VhostError(
        'ERR_VHOST_HEADER_SIZE',
        `${this.name} has a header of ${String(found)} bytes after it was set to ${String(headerSize)}`,
      );
    }
    tun.setOffload(offloadFlags(features));
  }
}
