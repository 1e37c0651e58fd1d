import type { NativeDescriptor, NativeLinkCounters } from '../sys/link.js';

/** One queue of a backend: what one vhost descriptor's two vrings are bound to. */
export interface BackendQueue {
  /** What vhost is given as the backend of both vrings. */
  readonly descriptor: NativeDescriptor;
}

/** What driver and device agreed on, as far as the backend has to act on it. */
export interface BackendAgreement {
  /** Bytes of the virtio-net header before each frame: 10, 12 or 24. */
  readonly headerSize: number;
  /** The negotiated feature bits. */
  readonly features: bigint;
}

/** What a backend's interface looks like from the host now. */
export interface BackendLink {
  /** The interface's name. */
  readonly name: string;
  /** The interface's index in its network namespace. */
  readonly index: number;
  /** Whether it is set up (`IFF_UP`). */
  readonly up: boolean;
  /** Whether something is attached to it and has not turned the carrier off. */
  readonly carrier: boolean;
  /** Bytes, Ethernet header not counted. */
  readonly mtu: number;
  /**
   * The interface's address. Of a tap it is the host's, and the driver's must differ; of a macvtap the
   * driver's must be this one.
   */
  readonly mac: string;
  /**
   * The interface's counters, as the kernel has them. Behind a tap the host receives what we transmit;
   * behind a macvtap or a packet socket the interface receives what comes to us.
   */
  readonly counters: NativeLinkCounters;
  /** Of a packet socket: frames that were not kept for us because its buffer was full. */
  readonly queueDropped?: number;
}

/** Which frames are to come, by the Ethernet address that they are sent to. Addresses have 6 bytes. */
export interface ReceiveFilter {
  /** Of hosts: the driver's own, and more. At least one. */
  readonly unicast: readonly Uint8Array[];
  /** Of groups, the broadcast among them where it is wanted; `all`: whatever group. */
  readonly multicast: readonly Uint8Array[] | 'all';
}

/** What of an interface may change under a port. */
export type LinkProperty = 'name' | 'up' | 'carrier' | 'mtu' | 'mac';

/** Who is told what happens to an interface. */
export interface LinkListener {
  /** Something changed; `link` is what came of it. */
  onChange(link: BackendLink, changed: readonly LinkProperty[]): void;
  /** The interface is not in its namespace any more: deleted, or moved to another. */
  onGone(): void;
}

/** What stands behind vhost. */
export interface Backend {
  /** The interface's name when it was opened; {@link link} has what it is now. */
  readonly name: string;
  /** `VIRTIO_NET_F_*` bits that this backend can serve, besides vhost's own. */
  readonly features: bigint;
  /** At least one: those that are in use, one for each queue pair. */
  readonly queues: readonly BackendQueue[];
  /**
   * Whether the backend takes and gives frames without a header, so that vhost has to strip and make
   * it (`VHOST_NET_F_VIRTIO_NET_HDR`). What vhost makes says nothing of the frame. Default: false.
   */
  readonly headerless?: boolean;
  /**
   * Whether unfinished frames come although nobody agreed to take them: nothing tells the sender that
   * they are not wanted. Default: false.
   */
  readonly unfinished?: boolean;
  /** Whether a frame without a GSO type is lost when it is longer than the MTU allows. Default: false. */
  readonly strictMtu?: boolean;
  /** Whether {@link close} was called. */
  readonly closed: boolean;
  /**
   * Puts an agreement into force and reads it back.
   *
   * @throws {VhostError} `ERR_VHOST_HEADER_SIZE`: the interface has another header size than was set.
   */
  agree(agreement: BackendAgreement): void;
  /**
   * State and counters of the interface, read now.
   *
   * @throws {VhostSystemError} `ENODEV`: it is not in its namespace any more, see {@link LinkListener.onGone}.
   */
  link(): BackendLink;
  /**
   * Has so many queues in use: opens further ones, or detaches the last, so that nothing is steered to
   * them. Without it the backend has the queues that it has.
   *
   * @param count  At least 1.
   * @throws {VhostSystemError} As for opening. What was there before stays.
   */
  setQueueCount?(count: number): void;
  /**
   * Lets nothing more come to the queues from `count` on, with those in use as they are, so that what
   * waits in them can be taken before they are detached.
   *
   * @returns What ends that; undefined: it is not possible here, and what waits in a queue that is
   * detached is lost, in no counter.
   */
  steerAway?(count: number): (() => void) | undefined;
  /**
   * Lets only these frames come to the queues, and others that it can't tell from them; never fewer. What
   * it keeps away is counted in `transmitDropped`. Ends with {@link close}; {@link reopen} keeps it.
   * Without it every frame comes.
   *
   * @param filter  Undefined: every frame comes again.
   * @returns Whether any is kept away: not with more hosts than it can tell apart.
   */
  setReceiveFilter?(filter: ReceiveFilter | undefined): boolean;
  /** Tells of what happens to the interface, until {@link close}; of one that is reopened as well. */
  watch?(listener: LinkListener): void;
  /** Whether the interface is gone, so that nothing will come or go through it any more. */
  lost(): boolean;
  /**
   * Makes a lost interface again, as it was asked for, with the agreement in force. Only after the
   * vrings bound to it were stopped; {@link queues} are others afterwards.
   */
  reopen(): void;
  /** Lets go of everything. Only after the vrings bound to it were stopped. */
  close(): void;
  /**
   * The same, when what it was opened for has failed: an interface that was made for it goes, also one
   * that was to stay. Default: {@link close}.
   */
  discard?(): void;
}
