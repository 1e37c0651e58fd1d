import type { EventFd } from './eventfd.js';
import { describeWorker } from './worker-thread.js';
import type { WorkerThread } from './worker-thread.js';
import { native } from '../native.js';
import type { NativeDescriptor } from '../native.js';

/** A guest-address range and the memory behind it. `struct vhost_memory_region`. */
export interface MemoryTableRow {
  /** Where descriptors see it. */
  readonly guestAddress: bigint;
  /** Bytes, at least 1. */
  readonly byteLength: bigint;
  /** Inside {@link Pages} of this process. */
  readonly hostAddress: bigint;
}

/** Host virtual addresses of one vring's parts. `struct vhost_vring_addr`. */
export interface VringAddresses {
  /** 16-aligned (not checked by the kernel). */
  readonly desc: bigint;
  /** 2-aligned. */
  readonly avail: bigint;
  /** 4-aligned. */
  readonly used: bigint;
}

/** What stands behind a vring: anything with a descriptor that vhost-net takes as a backend. */
export interface BackendDescriptor {
  /** A tap, a macvtap or a packet socket. */
  readonly descriptor: NativeDescriptor;
}

/**
 * One descriptor of `/dev/vhost-net`: two vrings (0 = receive, 1 = transmit, as the driver sees
 * them) and, once it has an owner, one kernel worker for both. One method for each ioctl; which order
 * is legal is the kernel's to say, and said here where it was seen.
 */
export class VhostNet {
  /** Where the device node is. */
  static readonly PATH = '/dev/vhost-net';

  readonly #descriptor: NativeDescriptor;
  #worker: WorkerThread | undefined;

  /**
   * Opens the device.
   *
   * @throws {VhostSystemError} `ENOENT`: no such node, `EACCES`: no right to it, `ENODEV`: the node is
   * there but the module is not.
   */
  constructor(path: string = VhostNet.PATH) {
    this.#descriptor = native.descriptorOpen(path, true);
  }

  /** The descriptor's number, -1 once closed. */
  get fd(): number {
    return this.#descriptor.fd;
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#descriptor.fd === -1;
  }

  /** The worker that {@link setOwner} created; undefined before, and when it can't be known. */
  get worker(): WorkerThread | undefined {
    return this.#worker;
  }

  /**
   * Makes this process's memory the one that the device works on, and creates the worker.
   * `VHOST_SET_OWNER`. Before every other request but the feature ones.
   *
   * @throws {VhostSystemError} `EBUSY`: has an owner; `ENOMEM`: no memory, or a limit of processes.
   */
  setOwner(): void {
    this.#worker = describeWorker(native.vhostSetOwner(this.#descriptor));
  }

  /** The feature bits that this kernel's vhost-net offers. `VHOST_GET_FEATURES`; needs no owner. */
  getFeatures(): bigint {
    return native.vhostGetFeatures(this.#descriptor);
  }

  /**
   * The feature bits in force from now on. `VHOST_SET_FEATURES`; needs no owner. Decides how long the
   * header before each frame is: 12 bytes with `VIRTIO_F_VERSION_1` or `VIRTIO_NET_F_MRG_RXBUF`, else 10.
   *
   * @throws {VhostSystemError} `ENOTSUP`: a bit that {@link getFeatures} does not have.
   * @throws {RangeError} `VHOST_F_LOG_ALL`: there is no log of dirty pages here.
   */
  setFeatures(features: bigint): void {
    native.vhostSetFeatures(this.#descriptor, features);
  }

  /**
   * Which guest addresses descriptors may name. `VHOST_SET_MEM_TABLE`; replaces the table at once,
   * also while rings run. The pages stay mapped for as long as they are in the table.
   *
   * @throws {VhostSystemError} `EPERM`: no owner; `E2BIG`: more rows than the module's parameter
   * `max_mem_regions`; `EFAULT`: a row of length 0 or one that wraps.
   * @throws {RangeError} A row outside pages of this package.
   */
  setMemTable(rows: readonly MemoryTableRow[]): void {
    native.vhostSetMemTable(
      this.#descriptor,
      rows.map((row) => [row.guestAddress, row.byteLength, row.hostAddress]),
    );
  }

  /**
   * How many descriptors a vring has. `VHOST_SET_VRING_NUM`.
   *
   * @param size  A power of 2 in 1..32768.
   * @throws {VhostSystemError} `EBUSY`: a backend is set; `EINVAL`: no such size; `ENOBUFS`: no such vring.
   */
  setVringNum(index: number, size: number): void {
    native.vhostSetVringNum(this.#descriptor, index, size);
  }

  /**
   * The avail index from which the device reads on. `VHOST_SET_VRING_BASE`.
   *
   * @throws {VhostSystemError} `EBUSY`: a backend is set; `EINVAL`: above 0xffff.
   */
  setVringBase(index: number, base: number): void {
    native.vhostSetVringBase(this.#descriptor, index, base);
  }

  /**
   * How long the worker looks for more work before it sleeps: it uses a CPU meanwhile.
   * `VHOST_SET_VRING_BUSYLOOP_TIMEOUT`; the receive ring's counts while no frame is there, the
   * transmit ring's while no buffer is.
   *
   * @param microseconds  0 to 2^32-1; 0, the default, is off.
   * @throws {VhostSystemError} `ENOBUFS`: no such vring.
   */
  setVringBusyloopTimeout(index: number, microseconds: number): void {
    native.vhostSetVringBusyloopTimeout(this.#descriptor, index, microseconds);
  }

  /** `VHOST_GET_VRING_BUSYLOOP_TIMEOUT`; in microseconds. */
  getVringBusyloopTimeout(index: number): number {
    return native.vhostGetVringBusyloopTimeout(this.#descriptor, index);
  }

  /** The avail index that the device would read next; a snapshot while it runs. `VHOST_GET_VRING_BASE`. */
  getVringBase(index: number): number {
    return native.vhostGetVringBase(this.#descriptor, index);
  }

  /**
   * Tells the kernel where the parts of one vring lie. `VHOST_SET_VRING_ADDR`; after
   * {@link setVringNum}. The kernel checks alignment here, and in {@link setBackend} that the parts
   * are user-space addresses, never that they are mapped: this package does.
   *
   * @throws {VhostSystemError} `EINVAL`: misaligned.
   * @throws {RangeError} Parts outside pages of this package.
   */
  setVringAddr(index: number, parts: VringAddresses): void {
    native.vhostSetVringAddr(this.#descriptor, index, 0, parts.desc, parts.used, parts.avail, 0n);
  }

  /** The eventfd with which the driver wakes the worker. `VHOST_SET_VRING_KICK`; undefined = none. */
  setVringKick(index: number, eventfd: EventFd | undefined): void {
    native.vhostSetVringKick(this.#descriptor, index, eventfd?.descriptor);
  }

  /** The eventfd with which the worker tells of used buffers. `VHOST_SET_VRING_CALL`; undefined = none. */
  setVringCall(index: number, eventfd: EventFd | undefined): void {
    native.vhostSetVringCall(this.#descriptor, index, eventfd?.descriptor);
  }

  /** The eventfd with which the worker tells that a ring is broken. `VHOST_SET_VRING_ERR`. */
  setVringErr(index: number, eventfd: EventFd | undefined): void {
    native.vhostSetVringErr(this.#descriptor, index, eventfd?.descriptor);
  }

  /**
   * Starts a vring on a backend, or, with undefined, stops it: when that returned, the worker touches
   * neither the ring nor its buffers any more. `VHOST_NET_SET_BACKEND`.
   *
   * @throws {VhostSystemError} `EFAULT`: ring or memory table not accessible, also when no table was
   * ever set; `ENOTSOCK`: neither tap nor packet socket; `EINVAL`: a tun descriptor without an interface.
   */
  setBackend(index: number, backend: BackendDescriptor | undefined): void {
    native.vhostNetSetBackend(this.#descriptor, index, backend?.descriptor);
  }

  /** Stops everything and ends the worker; when it returns, the kernel uses none of our memory. */
  close(): void {
    this.#descriptor.close();
  }

  /** The same as {@link close}: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
