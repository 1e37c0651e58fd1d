import type { NativeDescriptor, NativeLinkCounters } from '../native.js';

/** One queue of a backend: what one vhost descriptor's two vrings are bound to. */
export interface BackendQueue {
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
  readonly name: string;
  readonly index: number;
  readonly up: boolean;
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
  readonly queues: readonly BackendQueue[];
  readonly closed: boolean;
  /**
   * Puts an agreement into force and reads it back.
   *
   * @throws {VhostError} `ERR_VHOST_HEADER_SIZE`: the interface has another header size than was set.
   */
  agree(agreement: BackendAgreement): void;
  /** State and counters of the interface, read now. */
  link(): BackendLink;
  /** Lets go of everything. Only after the vrings bound to it were stopped. */
  close(): void;
}
