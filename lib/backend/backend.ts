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
  /** The host side's address; the driver's must differ. */
  readonly mac: string;
  /** The host's counters: it receives what we transmit. */
  readonly counters: NativeLinkCounters;
}

/** What stands behind vhost. */
export interface Backend {
  /** The interface's name. */
  readonly name: string;
  /** `VIRTIO_NET_F_*` bits that this backend can serve, besides vhost's own. */
  readonly features: bigint;
  /** At least one; a port uses the first. */
  readonly queues: readonly BackendQueue[];
  /** Whether {@link close} was called. */
  readonly closed: boolean;
  /**
   * Puts an agreement into force and reads it back.
   *
   * @throws {VhostError} `ERR_VHOST_HEADER_SIZE`: the interface has another header size than was set.
   */
  agree(agreement: BackendAgreement): void;
  /** State and counters of the interface, read now. */
  link(): BackendLink;
  /** Whether the interface is gone, so that nothing will come or go through it any more. */
  lost(): boolean;
  /**
   * Makes a lost interface again, as it was asked for, with the agreement in force. Only after the
   * vrings bound to it were stopped; {@link queues} are others afterwards.
   */
  reopen(): void;
  /** Lets go of everything. Only after the vrings bound to it were stopped. */
  close(): void;
}
