import type { EventFd } from './eventfd.js';
import { ENDIANS, SINCE, WORKER_KINDS, choose } from './vhost-arguments.js';
import { checkObject, descriptorOf, eventfdOf, tableRows } from './vhost-arguments.js';
import type {
  BackendDescriptor,
  DirtyLog,
  MemoryTableRow,
  VringAddresses,
  VringEndian,
} from './vhost-arguments.js';
import { DEVICE_REQUEST, VRING_REQUEST, orUnsupported } from './unsupported.js';
import { describeWorker } from './worker-thread.js';
import type { WorkerThread } from './worker-thread.js';
import { native } from '../native.js';
import type { NativeDescriptor } from '../native.js';
import { ioctl } from '../observe.js';
import type { IoctlArguments } from '../observe.js';
import {
  VHOST_FORK_OWNER_KTHREAD,
  VHOST_VRING_BIG_ENDIAN,
  VHOST_VRING_F_LOG,
} from '../uapi/vhost.js';

export type {
  BackendDescriptor,
  DirtyLog,
  MemoryTableRow,
  VringAddresses,
  VringEndian,
} from './vhost-arguments.js';

/** What the kernel takes for no descriptor. */
const NONE = -1;

/**
 * One descriptor of `/dev/vhost-net`: two vrings (0 = receive, 1 = transmit, as the driver sees
 * them) and, once it has an owner, one kernel worker for both. One method for each ioctl; which order
 * is legal is the kernel's to say, and said here where it was seen.
 *
 * What is not here: `VHOST_NEW_WORKER` and its three likes, which vhost-net does not serve; and messages
 * of an IOTLB, which are no ioctls: with `VIRTIO_F_ACCESS_PLATFORM` no ring starts without them (`EFAULT`).
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
    let tid = 0;
    this.#ioctl('VHOST_SET_OWNER', {}, (vhost) => {
      tid = native.vhostSetOwner(vhost);
    });
    this.#worker = describeWorker(tid, this.#descriptor);
  }

  /**
   * Gives the device up: stops both vrings, ends the worker, forgets features, memory table, vrings
   * and log. `VHOST_RESET_OWNER`. The descriptor is as when it was opened, and may get an owner again.
   *
   * @throws {VhostSystemError} `EPERM`: has no owner, or another one.
   */
  resetOwner(): void {
    this.#ioctl('VHOST_RESET_OWNER', {}, (vhost) => {
      native.vhostResetOwner(vhost);
    });
    this.#worker?.retire();
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
      this.#ioctl('VHOST_SET_FORK_FROM_OWNER', { kind }, (vhost) => {
        native.vhostSetForkFromOwner(vhost, mode);
      });
    });
  }

  /**
   * What kind of thread a worker would be now. `VHOST_GET_FORK_FROM_OWNER`.
   *
   * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`.
   */
  getForkFromOwner(): WorkerThread['kind'] {
    const mode = orUnsupported(DEVICE_REQUEST, SINCE.forkFromOwner, () =>
      this.#ioctl('VHOST_GET_FORK_FROM_OWNER', {}, (vhost) => native.vhostGetForkFromOwner(vhost)),
    );
    return mode === VHOST_FORK_OWNER_KTHREAD ? 'kthread' : 'task';
  }

  /** The feature bits that this kernel's vhost-net offers. `VHOST_GET_FEATURES`; needs no owner. */
  getFeatures(): bigint {
    return this.#ioctl('VHOST_GET_FEATURES', {}, (vhost) => native.vhostGetFeatures(vhost));
  }

  /**
   * The feature bits in force from now on. `VHOST_SET_FEATURES`; needs no owner. Decides how long the
   * header before each frame is: 12 bytes with `VIRTIO_F_VERSION_1` or `VIRTIO_NET_F_MRG_RXBUF`, else 10.
   *
   * @throws {VhostSystemError} `ENOTSUP`: a bit that {@link getFeatures} does not have.
   * @throws {RangeError} `VHOST_F_LOG_ALL` while {@link setLogBase} does not cover the memory table.
   */
  setFeatures(features: bigint): void {
    this.#ioctl('VHOST_SET_FEATURES', { features }, (vhost) => {
      native.vhostSetFeatures(vhost, features);
    });
  }

  /**
   * The same with bits above 63. `VHOST_GET_FEATURES_ARRAY`, of two words; needs no owner.
   *
   * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`: {@link getFeatures} tells all that there are.
   */
  getFeaturesArray(): bigint {
    return orUnsupported(DEVICE_REQUEST, SINCE.featuresArray, () =>
      this.#ioctl('VHOST_GET_FEATURES_ARRAY', {}, (vhost) => native.vhostGetFeaturesArray(vhost)),
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
      this.#ioctl('VHOST_SET_FEATURES_ARRAY', { features }, (vhost) => {
        native.vhostSetFeaturesArray(vhost, features);
      });
    });
  }

  /**
   * What vhost itself can do besides, as a set of bits: of vhost-net, `VHOST_BACKEND_F_IOTLB_MSG_V2`.
   * `VHOST_GET_BACKEND_FEATURES`; needs no owner.
   */
  getBackendFeatures(): bigint {
    return this.#ioctl('VHOST_GET_BACKEND_FEATURES', {}, (vhost) =>
      native.vhostGetBackendFeatures(vhost),
    );
  }

  /**
   * What of that is in force. `VHOST_SET_BACKEND_FEATURES`; needs no owner.
   *
   * @throws {VhostSystemError} `ENOTSUP`: a bit that {@link getBackendFeatures} does not have.
   */
  setBackendFeatures(features: bigint): void {
    this.#ioctl('VHOST_SET_BACKEND_FEATURES', { backendFeatures: features }, (vhost) => {
      native.vhostSetBackendFeatures(vhost, features);
    });
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
    const list = tableRows(rows);
    this.#ioctl('VHOST_SET_MEM_TABLE', { rows }, (vhost) => {
      native.vhostSetMemTable(vhost, list);
    });
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
    checkObject('log', log);
    this.#ioctl('VHOST_SET_LOG_BASE', { ...log }, (vhost) => {
      native.vhostSetLogBase(vhost, log.hostAddress, log.byteLength);
    });
  }

  /**
   * The eventfd that is signalled when something was marked. `VHOST_SET_LOG_FD`; undefined = none.
   *
   * @throws {VhostSystemError} `EPERM`: no owner.
   */
  setLogFd(eventfd: EventFd | undefined): void {
    const descriptor = eventfdOf(eventfd);
    this.#ioctl('VHOST_SET_LOG_FD', { fd: descriptor?.fd ?? NONE }, (vhost) => {
      native.vhostSetLogFd(vhost, descriptor);
    });
  }

  /**
   * How many descriptors a vring has. `VHOST_SET_VRING_NUM`.
   *
   * @param size  A power of 2 in 1..32768.
   * @throws {VhostSystemError} `EBUSY`: a backend is set; `EINVAL`: no such size; `ENOBUFS`: no such vring.
   */
  setVringNum(index: number, size: number): void {
    this.#ioctl('VHOST_SET_VRING_NUM', { index, size }, (vhost) => {
      native.vhostSetVringNum(vhost, index, size);
    });
  }

  /**
   * The avail index from which the device reads on. `VHOST_SET_VRING_BASE`.
   *
   * @throws {VhostSystemError} `EBUSY`: a backend is set; `EINVAL`: above 0xffff.
   */
  setVringBase(index: number, base: number): void {
    this.#ioctl('VHOST_SET_VRING_BASE', { index, base }, (vhost) => {
      native.vhostSetVringBase(vhost, index, base);
    });
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
      this.#ioctl('VHOST_SET_VRING_ENDIAN', { index, endian }, (vhost) => {
        native.vhostSetVringEndian(vhost, index, value);
      });
    });
  }

  /**
   * `VHOST_GET_VRING_ENDIAN`.
   *
   * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`.
   */
  getVringEndian(index: number): VringEndian {
    const value = orUnsupported(VRING_REQUEST, SINCE.endian, () =>
      this.#ioctl('VHOST_GET_VRING_ENDIAN', { index }, (vhost) =>
        native.vhostGetVringEndian(vhost, index),
      ),
    );
    return value === VHOST_VRING_BIG_ENDIAN ? 'big' : 'little';
  }

  /**
   * How long the worker looks for more work before it sleeps: it uses a CPU meanwhile, and on Linux 7
   * whatever changes or stops its rings waits, {@link close} as well. `VHOST_SET_VRING_BUSYLOOP_TIMEOUT`; the receive ring's counts while no frame is there, the
   * transmit ring's while no buffer is.
   *
   * @param microseconds  0 to 2^32-1; 0, the default, is off.
   * @throws {VhostSystemError} `ENOBUFS`: no such vring.
   */
  setVringBusyloopTimeout(index: number, microseconds: number): void {
    this.#ioctl('VHOST_SET_VRING_BUSYLOOP_TIMEOUT', { index, microseconds }, (vhost) => {
      native.vhostSetVringBusyloopTimeout(vhost, index, microseconds);
    });
  }

  /** `VHOST_GET_VRING_BUSYLOOP_TIMEOUT`; in microseconds. */
  getVringBusyloopTimeout(index: number): number {
    return this.#ioctl('VHOST_GET_VRING_BUSYLOOP_TIMEOUT', { index }, (vhost) =>
      native.vhostGetVringBusyloopTimeout(vhost, index),
    );
  }

  /** The avail index that the device would read next; a snapshot while it runs. `VHOST_GET_VRING_BASE`. */
  getVringBase(index: number): number {
    return this.#ioctl('VHOST_GET_VRING_BASE', { index }, (vhost) =>
      native.vhostGetVringBase(vhost, index),
    );
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
    checkObject('parts', parts);
    const { desc, used, avail, log } = parts;
    const flags = log === undefined ? 0 : 1 << VHOST_VRING_F_LOG;
    this.#ioctl('VHOST_SET_VRING_ADDR', { index, flags, ...parts }, (vhost) => {
      native.vhostSetVringAddr(vhost, index, flags, desc, used, avail, log ?? 0n);
    });
  }

  /** The eventfd with which the driver wakes the worker. `VHOST_SET_VRING_KICK`; undefined = none. */
  setVringKick(index: number, eventfd: EventFd | undefined): void {
    const descriptor = eventfdOf(eventfd);
    this.#ioctl('VHOST_SET_VRING_KICK', { index, fd: descriptor?.fd ?? NONE }, (vhost) => {
      native.vhostSetVringKick(vhost, index, descriptor);
    });
  }

  /** The eventfd with which the worker tells of used buffers. `VHOST_SET_VRING_CALL`; undefined = none. */
  setVringCall(index: number, eventfd: EventFd | undefined): void {
    const descriptor = eventfdOf(eventfd);
    this.#ioctl('VHOST_SET_VRING_CALL', { index, fd: descriptor?.fd ?? NONE }, (vhost) => {
      native.vhostSetVringCall(vhost, index, descriptor);
    });
  }

  /** The eventfd with which the worker tells that a ring is broken. `VHOST_SET_VRING_ERR`. */
  setVringErr(index: number, eventfd: EventFd | undefined): void {
    const descriptor = eventfdOf(eventfd);
    this.#ioctl('VHOST_SET_VRING_ERR', { index, fd: descriptor?.fd ?? NONE }, (vhost) => {
      native.vhostSetVringErr(vhost, index, descriptor);
    });
  }

  /**
   * Starts a vring on a backend, or, with undefined, stops it: when that returned, the worker touches
   * neither the ring nor its buffers any more. `VHOST_NET_SET_BACKEND`.
   *
   * @throws {VhostSystemError} `EFAULT`: ring or memory table not accessible, also when no table was
   * ever set; `ENOTSOCK`: neither tap nor packet socket; `EINVAL`: a tun descriptor without an interface.
   */
  setBackend(index: number, backend: BackendDescriptor | undefined): void {
    const expected = 'an object with a descriptor, or undefined for none';
    const descriptor = descriptorOf('backend', expected, backend);
    const fd = descriptor?.fd ?? NONE;
    this.#ioctl('VHOST_NET_SET_BACKEND', { index, fd }, (vhost) => {
      native.vhostNetSetBackend(vhost, index, descriptor);
    });
  }

  /** Stops everything and ends the worker; when it returns, the kernel uses none of our memory. */
  close(): void {
    this.#descriptor.close();
  }

  /** The same as {@link close}: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #ioctl<T>(request: string, args: IoctlArguments, call: (vhost: NativeDescriptor) => T): T {
    return ioctl(this.fd, request, args, () => call(this.#descriptor));
  }
}
