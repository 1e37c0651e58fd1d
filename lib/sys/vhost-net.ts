import type { EventFd } from './eventfd.js';
import { DEVICE_REQUEST, VRING_REQUEST, orUnsupported } from './unsupported.js';
import { describeWorker } from './worker-thread.js';
import type { WorkerThread } from './worker-thread.js';
import { misuse } from '../errors.js';
import { native } from '../native.js';
import type { NativeDescriptor } from '../native.js';
import {
  VHOST_FORK_OWNER_KTHREAD,
  VHOST_FORK_OWNER_TASK,
  VHOST_VRING_BIG_ENDIAN,
  VHOST_VRING_F_LOG,
  VHOST_VRING_LITTLE_ENDIAN,
} from '../uapi/vhost.js';

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
  /**
   * Where the used ring would lie if descriptors could name it: writes to it are logged as if it did.
   * A *guest* address, 4-aligned. Absent: they are not logged.
   */
  readonly log?: bigint;
}

/** Where vhost marks the pages that it wrote. */
export interface DirtyLog {
  /** Inside {@link Pages} of this process. */
  readonly hostAddress: bigint;
  /** Each byte is for 8 pages of 4 KiB of guest addresses, from 0 on; the lowest bit is the first. */
  readonly byteLength: bigint;
}

/** The order of bytes in a vring without `VIRTIO_F_VERSION_1`. */
export type VringEndian = 'little' | 'big';

const ENDIANS = { little: VHOST_VRING_LITTLE_ENDIAN, big: VHOST_VRING_BIG_ENDIAN } as const;

const WORKER_KINDS = { kthread: VHOST_FORK_OWNER_KTHREAD, task: VHOST_FORK_OWNER_TASK } as const;

/** Which kernels have what others lack. */
const SINCE = {
  featuresArray: 'Linux 6.17',
  forkFromOwner: 'Linux 6.17, or a stable one of 6.12 with CONFIG_VHOST_ENABLE_FORK_OWNER_CONTROL',
  endian: 'CONFIG_VHOST_CROSS_ENDIAN_LEGACY, which distributions leave off',
} as const;

/** The number of a choice, or the complaint about what is none of them. */
function choose(option: string, choices: Readonly<Record<string, number>>, name: string): number {
  const number = Object.hasOwn(choices, name) ? choices[name] : undefined;
  if (number !== undefined) return number;
  const known = Object.keys(choices).map((choice) => `'${choice}'`);
  throw misuse.range(option, known.join(' or '), name);
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
    this.#descriptor = native.vhostOpen(path);
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

  /**
   * Gives the device up: stops both vrings, ends the worker, forgets features, memory table, vrings
   * and log. `VHOST_RESET_OWNER`. The descriptor is as when it was opened, and may get an owner again.
   *
   * @throws {VhostSystemError} `EPERM`: has no owner, or another one.
   */
  resetOwner(): void {
    native.vhostResetOwner(this.#descriptor);
    this.#worker = undefined;
  }

  /**
   * What kind of thread the next worker is to be. `VHOST_SET_FORK_FROM_OWNER`; before
   * {@link setOwner}. A kernel thread is not among this process's threads and counts in none of its
   * limits. Without this call it is what the module's parameter `fork_from_owner_default` says.
   *
   * @throws {VhostSystemError} `EBUSY`: has an owner already.
   * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`.
   */
  setForkFromOwner(kind: WorkerThread['kind']): void {
    const mode = choose('kind', WORKER_KINDS, kind);
    orUnsupported(DEVICE_REQUEST, SINCE.forkFromOwner, () => {
      native.vhostSetForkFromOwner(this.#descriptor, mode);
    });
  }

  /**
   * What kind of thread a worker would be now. `VHOST_GET_FORK_FROM_OWNER`.
   *
   * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`.
   */
  getForkFromOwner(): WorkerThread['kind'] {
    const mode = orUnsupported(DEVICE_REQUEST, SINCE.forkFromOwner, () =>
      native.vhostGetForkFromOwner(this.#descriptor),
    );
    return mode === VHOST_FORK_OWNER_KTHREAD ? 'kthread' : 'task';
  }

  /** The feature bits that this kernel's vhost-net offers. `VHOST_GET_FEATURES`; needs no owner. */
  getFeatures(): bigint {
    return native.vhostGetFeatures(this.#descriptor);
  }

  /**
   * The feature bits in force from now on. `VHOST_SET_FEATURES`; needs no owner. Decides how long the
   * header before each frame is: 12 bytes with `VIRTIO_F_VERSION_1` or `VIRTIO_NET_F_MRG_RXBUF`, else 10.
   *
   * @throws {VhostSystemError} `ENOTSUP`: a bit that {@link getFeatures} does not have; `EFAULT`:
   * `VHOST_F_LOG_ALL` without a memory table.
   * @throws {RangeError} `VHOST_F_LOG_ALL` while {@link setLogBase} does not cover the memory table.
   */
  setFeatures(features: bigint): void {
    native.vhostSetFeatures(this.#descriptor, features);
  }

  /**
   * The same with bits above 63. `VHOST_GET_FEATURES_ARRAY`, of two words; needs no owner.
   *
   * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`: {@link getFeatures} tells all that there are.
   */
  getFeaturesArray(): bigint {
    return orUnsupported(DEVICE_REQUEST, SINCE.featuresArray, () =>
      native.vhostGetFeaturesArray(this.#descriptor),
    );
  }

  /**
   * The same as {@link setFeatures} with bits above 63. `VHOST_SET_FEATURES_ARRAY`; needs no owner. Of
   * the bits there are two change the header: with `VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO` or
   * `VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO` it has 24 bytes.
   *
   * @param features  0 to 2^1024-1.
   * @throws {VhostSystemError} As {@link setFeatures}.
   * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`.
   */
  setFeaturesArray(features: bigint): void {
    orUnsupported(DEVICE_REQUEST, SINCE.featuresArray, () => {
      native.vhostSetFeaturesArray(this.#descriptor, features);
    });
  }

  /**
   * What vhost itself can do besides, as a set of bits: of vhost-net, `VHOST_BACKEND_F_IOTLB_MSG_V2`.
   * `VHOST_GET_BACKEND_FEATURES`; needs no owner.
   */
  getBackendFeatures(): bigint {
    return native.vhostGetBackendFeatures(this.#descriptor);
  }

  /**
   * What of that is in force. `VHOST_SET_BACKEND_FEATURES`; needs no owner.
   *
   * @throws {VhostSystemError} `ENOTSUP`: a bit that {@link getBackendFeatures} does not have.
   */
  setBackendFeatures(features: bigint): void {
    native.vhostSetBackendFeatures(this.#descriptor, features);
  }

  /**
   * Which guest addresses descriptors may name. `VHOST_SET_MEM_TABLE`; replaces the table at once,
   * also while rings run. The pages stay mapped for as long as they are in the table.
   *
   * @throws {VhostSystemError} `EPERM`: no owner; `E2BIG`: more rows than the module's parameter
   * `max_mem_regions` (see {@link vhostParameters}); `EFAULT`: a row that wraps.
   * @throws {RangeError} A row of length 0, or outside pages of this package; one that the log does not
   * cover while `VHOST_F_LOG_ALL` is in force.
   */
  setMemTable(rows: readonly MemoryTableRow[]): void {
    native.vhostSetMemTable(
      this.#descriptor,
      rows.map((row) => [row.guestAddress, row.byteLength, row.hostAddress]),
    );
  }

  /**
   * Where pages that vhost wrote are marked. `VHOST_SET_LOG_BASE`; also while rings run. Marks are made
   * with `VHOST_F_LOG_ALL` (see {@link setFeatures}) for buffers, and with `log` in
   * {@link setVringAddr} for the used ring. The kernel only ever sets bits: whoever reads them clears
   * them, and with an atomic exchange while rings run. The pages stay mapped for as long as they are the log.
   *
   * @throws {VhostSystemError} `EPERM`: no owner; `EFAULT`: not accessible while a ring runs.
   * @throws {RangeError} Outside pages of this package, or too short for what is being logged.
   */
  setLogBase(log: DirtyLog): void {
    native.vhostSetLogBase(this.#descriptor, log.hostAddress, log.byteLength);
  }

  /**
   * The eventfd that is signalled when something was marked. `VHOST_SET_LOG_FD`; undefined = none.
   *
   * @throws {VhostSystemError} `EPERM`: no owner.
   */
  setLogFd(eventfd: EventFd | undefined): void {
    native.vhostSetLogFd(this.#descriptor, eventfd?.descriptor);
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
   * The order of bytes in a vring. `VHOST_SET_VRING_ENDIAN`; matters only without `VIRTIO_F_VERSION_1`.
   *
   * @throws {VhostSystemError} `EPERM`: no owner, on kernels without it as well; `EBUSY`: a backend is set.
   * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`.
   */
  setVringEndian(index: number, endian: VringEndian): void {
    const value = choose('endian', ENDIANS, endian);
    orUnsupported(VRING_REQUEST, SINCE.endian, () => {
      native.vhostSetVringEndian(this.#descriptor, index, value);
    });
  }

  /**
   * `VHOST_GET_VRING_ENDIAN`.
   *
   * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`.
   */
  getVringEndian(index: number): VringEndian {
    const value = orUnsupported(VRING_REQUEST, SINCE.endian, () =>
      native.vhostGetVringEndian(this.#descriptor, index),
    );
    return value === VHOST_VRING_BIG_ENDIAN ? 'big' : 'little';
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
   * @throws {RangeError} Parts outside pages of this package, or a `log` that {@link setLogBase} does
   * not cover.
   */
  setVringAddr(index: number, parts: VringAddresses): void {
    const { desc, used, avail, log } = parts;
    const flags = log === undefined ? 0 : 1 << VHOST_VRING_F_LOG;
    native.vhostSetVringAddr(this.#descriptor, index, flags, desc, used, avail, log ?? 0n);
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
