import { native } from '../native.js';
import type { NativeDescriptor } from '../native.js';

/**
 * A packet socket (`packet(7)`): every frame that an interface receives, and frames for it to send.
 */
export class PacketSocket {
  readonly #descriptor: NativeDescriptor;

  /**
   * Opens a socket that hears nothing before {@link bind}.
   *
   * @param netns  The network namespace of the interface; undefined = this thread's.
   * @throws {VhostSystemError} `EPERM`: no CAP_NET_RAW; of `setns`, `EPERM`: no right to enter it.
   */
  constructor(netns?: NativeDescriptor, descriptor = native.packetOpen(netns)) {
    this.#descriptor = descriptor;
  }

  /** What is open already, which is this object's from now on. */
  static of(descriptor: NativeDescriptor): PacketSocket {
    return new PacketSocket(undefined, descriptor);
  }

  /** @internal For the rooms that hand it to the kernel. */
  get descriptor(): NativeDescriptor {
    return this.#descriptor;
  }

  get closed(): boolean {
    return this.#descriptor.fd === -1;
  }

  /**
   * From now on every frame of that interface is heard.
   *
   * @throws {VhostSystemError} `ENODEV`: no such interface; `ENETDOWN` comes later, by
   * {@link takeError}.
   */
  bind(index: number): void {
    native.packetBind(this.#descriptor, index);
  }

  /**
   * The interface that it is bound to: 0 = none (then it hears all of them), -1 = one that is gone.
   *
   * @throws {VhostSystemError} `EAFNOSUPPORT`: a socket of another family; `ENOTSOCK`.
   */
  index(): number {
    return native.packetGetIndex(this.#descriptor);
  }

  /**
   * How long the virtio-net header before each frame is: 0, 10 or 12. `PACKET_VNET_HDR_SZ`.
   *
   * @throws {VhostSystemError} `ENOPROTOOPT`: Linux before 6.6; `EINVAL`: another length; `EBUSY`: the
   * socket has a mapped ring.
   */
  setVnetHdrSize(size: number): void {
    native.packetSetVnetHdrSize(this.#descriptor, size);
  }

  /** `PACKET_VNET_HDR_SZ`, read. */
  getVnetHdrSize(): number {
    return native.packetGetVnetHdrSize(this.#descriptor);
  }

  /** Whether there is a virtio-net header of 10 bytes before each frame. `PACKET_VNET_HDR`. */
  setVnetHdr(on: boolean): void {
    native.packetSetVnetHdr(this.#descriptor, on ? 1 : 0);
  }

  /** Not to hear what this host sends, our own frames among it. `PACKET_IGNORE_OUTGOING`. */
  setIgnoreOutgoing(on: boolean): void {
    native.packetSetIgnoreOutgoing(this.#descriptor, on ? 1 : 0);
  }

  /** The interface takes in frames for any address for as long as this socket is open. */
  setPromiscuous(index: number): void {
    native.packetSetPromiscuous(this.#descriptor, index);
  }

  /**
   * Bytes of memory for frames that wait to be received, headers of the kernel included. `SO_RCVBUF`.
   *
   * @returns What the kernel made of it: without CAP_NET_ADMIN at most `net.core.rmem_max`.
   */
  setReceiveBuffer(byteLength: number): number {
    return native.packetSetBuffer(this.#descriptor, true, byteLength);
  }

  /** The same for frames that wait to be sent. `SO_SNDBUF`. */
  setSendBuffer(byteLength: number): number {
    return native.packetSetBuffer(this.#descriptor, false, byteLength);
  }

  /** The errno that waits on the socket, as after its interface went down; 0: none. It is taken. */
  takeError(): number {
    return native.packetTakeError(this.#descriptor);
  }

  /** Frames that came, and frames for which there was no memory, since the last time. */
  takeStatistics(): { frames: number; dropped: number } {
    const [frames, dropped] = native.packetTakeStatistics(this.#descriptor);
    return { frames, dropped };
  }

  close(): void {
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
