import { native } from '../native.js';
import type { NativeDescriptor } from '../native.js';
import { ioctl } from '../observe.js';
import type { IoctlArguments } from '../observe.js';

/**
 * One descriptor of `/dev/net/tun`, or of a macvtap's device, which has most of its ioctls: one queue
 * of an interface. One method for each ioctl.
 */
export class Tun {
  readonly #descriptor: NativeDescriptor;

  /**
   * Opens the control device; there is no interface yet.
   *
   * @param netns  The network namespace for the interface; undefined = this thread's.
   * @throws {VhostSystemError} `ENOENT`, `EACCES`, `ENODEV`: no device, no right, no module; of
   * `setns`, `EPERM`: no right to enter the namespace.
   */
  constructor(netns?: NativeDescriptor, descriptor = native.tunOpen(netns)) {
    this.#descriptor = descriptor;
  }

  /** What is open already, which is this object's from now on. */
  static of(descriptor: NativeDescriptor): Tun {
    return new Tun(undefined, descriptor);
  }

  /**
   * Opens a further queue of a macvtap; there are no flags yet.
   *
   * @param index  The interface's.
   * @param netns  Its namespace; undefined = this thread's.
   * @throws {VhostSystemError} `ENOENT`: no such interface, or no node in `/dev`; `EACCES`: no right to
   * the node; `EBUSY`: it has as many queues as it can have.
   */
  static ofMacvtap(index: number, netns?: NativeDescriptor): Tun {
    return Tun.of(native.macvtapOpen(index, netns));
  }

  /** @internal For the rooms that hand it to the kernel. */
  get descriptor(): NativeDescriptor {
    return this.#descriptor;
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  get closed(): boolean {
    return this.#descriptor.fd === -1;
  }

  /**
   * Creates an interface, or attaches to one. `TUNSETIFF`.
   *
   * @param name  At most 15 bytes; may hold `%d`, then the kernel chooses a number.
   * @returns The interface's name.
   * @throws {VhostSystemError} `EPERM`: no CAP_NET_ADMIN and not the interface's owner; `EBUSY`: attached
   * already; `EINVAL`: no tap, bad name, or `IFF_MULTI_QUEUE` unlike the existing interface's.
   */
  setIff(name: string, flags: number): string {
    return this.#ioctl('TUNSETIFF', { name, flags }, (tun) => native.tunSetIff(tun, name, flags));
  }

  /** Name and flags of the interface. `TUNGETIFF`. */
  getIff(): { name: string; flags: number } {
    return this.#ioctl('TUNGETIFF', {}, (tun) => {
      const [name, flags] = native.tunGetIff(tun);
      return { name, flags };
    });
  }

  /**
   * A descriptor of the interface's network namespace; the caller closes it. `TUNGETDEVNETNS`.
   *
   * @throws {VhostSystemError} `EPERM`: no CAP_NET_ADMIN in there.
   */
  getNetns(): NativeDescriptor {
    return this.#ioctl('TUNGETDEVNETNS', {}, (tun) => native.tunGetNetns(tun));
  }

  /** The `IFF_*` flags that this kernel knows. `TUNGETFEATURES`. */
  getFeatures(): number {
    return this.#ioctl('TUNGETFEATURES', {}, (tun) => native.tunGetFeatures(tun));
  }

  /**
   * How long the header before each frame is, for the whole interface. `TUNSETVNETHDRSZ`. Too long is
   * not refused, and a persistent interface keeps what its last user set: read it back.
   *
   * @throws {VhostSystemError} `EINVAL`: below 10.
   */
  setVnetHdrSize(size: number): void {
    this.#ioctl('TUNSETVNETHDRSZ', { size }, (tun) => {
      native.tunSetVnetHdrSize(tun, size);
    });
  }

  /** `TUNGETVNETHDRSZ`. */
  getVnetHdrSize(): number {
    return this.#ioctl('TUNGETVNETHDRSZ', {}, (tun) => native.tunGetVnetHdrSize(tun));
  }

  /**
   * Which unfinished frames we accept from the kernel (`TUN_F_*`). `TUNSETOFFLOAD`.
   *
   * @throws {VhostSystemError} `EINVAL`: a bit that this kernel lacks, or one without the bit it needs.
   */
  setOffload(flags: number): void {
    this.#ioctl('TUNSETOFFLOAD', { flags }, (tun) => {
      native.tunSetOffload(tun, flags);
    });
  }

  /** Bytes that may wait on their way to the kernel. `TUNSETSNDBUF`; vhost's batching needs `INT_MAX`. */
  setSendBuffer(byteLength: number): void {
    this.#ioctl('TUNSETSNDBUF', { byteLength }, (tun) => {
      native.tunSetSendBuffer(tun, byteLength);
    });
  }

  /** `TUNGETSNDBUF`. */
  getSendBuffer(): number {
    return this.#ioctl('TUNGETSNDBUF', {}, (tun) => native.tunGetSendBuffer(tun));
  }

  /** Whether the interface outlives its descriptors. `TUNSETPERSIST`. */
  setPersist(persist: boolean): void {
    this.#ioctl('TUNSETPERSIST', { persist }, (tun) => {
      native.tunSetPersist(tun, persist ? 1 : 0);
    });
  }

  /** The user who may attach without CAP_NET_ADMIN. `TUNSETOWNER`. */
  setOwner(uid: number): void {
    this.#ioctl('TUNSETOWNER', { uid }, (tun) => {
      native.tunSetOwner(tun, uid);
    });
  }

  /** The link as the host sees it. `TUNSETCARRIER`; `EPERM` when turned on without a queue. */
  setCarrier(carrier: boolean): void {
    this.#ioctl('TUNSETCARRIER', { carrier }, (tun) => {
      native.tunSetCarrier(tun, carrier ? 1 : 0);
    });
  }

  /** The group that may attach without CAP_NET_ADMIN. `TUNSETGROUP`. */
  setGroup(gid: number): void {
    this.#ioctl('TUNSETGROUP', { gid }, (tun) => {
      native.tunSetGroup(tun, gid);
    });
  }

  /**
   * Whether the interface steers frames to this queue of it. What waits in a queue that is detached is
   * lost, and in no counter. `TUNSETQUEUE`.
   *
   * @throws {VhostSystemError} `EINVAL`: it is so already, or the interface has one queue only.
   */
  setQueue(attached: boolean): void {
    this.#ioctl('TUNSETQUEUE', { attached }, (tun) => {
      native.tunSetQueue(tun, attached);
    });
  }

  /**
   * Lets an eBPF program choose the queue for each frame, for the whole interface: what it returns,
   * modulo the number of queues. `TUNSETSTEERINGEBPF`.
   *
   * @param program  A descriptor of a program of type `BPF_PROG_TYPE_SOCKET_FILTER`; undefined: the
   * kernel chooses again, by the flow.
   * @throws {VhostSystemError} `EINVAL`: a program of another type, or no program.
   */
  setSteering(program: NativeDescriptor | undefined): void {
    this.#ioctl('TUNSETSTEERINGEBPF', { program: program?.fd ?? -1 }, (tun) => {
      native.tunSetSteering(tun, program);
    });
  }

  /**
   * Lets a classic BPF program say which frames come to us, for the whole interface: how many bytes of
   * each, 0 for none. `TUNATTACHFILTER`, `TUNDETACHFILTER`.
   *
   * @param program  `struct sock_filter`, one behind the other; undefined: all come again.
   * @throws {VhostSystemError} `EINVAL`: no valid program.
   */
  setFilter(program: Uint8Array | undefined): void {
    const request = program ? 'TUNATTACHFILTER' : 'TUNDETACHFILTER';
    this.#ioctl(request, { instructions: (program?.length ?? 0) / 8 }, (tun) => {
      native.tunSetFilter(tun, program);
    });
  }

  /**
   * Lets only frames to these Ethernet addresses come to us, for the whole interface. Nothing is taken
   * for granted: the driver's own address and the broadcast are among them, or their frames do not come.
   * The first 8 are compared as they are; of further groups the kernel keeps a hash of 6 bits each, which
   * lets frames to others pass too; a further address that is no group's lets everything pass. What does
   * not pass is counted in `transmitDropped`. A persistent tap keeps it. `TUNSETTXFILTER`.
   *
   * @param addresses  6 bytes each, one behind the other; none: every frame comes again.
   * @param flags  `TUN_FLT_*`.
   * @returns How many are compared as they are; 0: every frame comes.
   * @throws {VhostSystemError} `EINVAL`: no tap.
   */
  setTxFilter(addresses: Uint8Array, flags = 0): number {
    return this.#ioctl('TUNSETTXFILTER', { addresses: addresses.length / 6, flags }, (tun) =>
      native.tunSetTxFilter(tun, flags, addresses),
    );
  }

  /** Lets go of the queue. The interface goes with its last queue, unless it is persistent. */
  close(): void {
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #ioctl<T>(request: string, args: IoctlArguments, call: (tun: NativeDescriptor) => T): T {
    return ioctl(this.fd, request, args, () => call(this.#descriptor));
  }
}
