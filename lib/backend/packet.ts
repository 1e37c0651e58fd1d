import type {
  Backend,
  BackendAgreement,
  BackendLink,
  BackendQueue,
  LinkListener,
} from './backend.js';
import { HostInterface } from './host-interface.js';
import { checkPacketOptions } from './packet-options.js';
import type { CheckedPacketOptions, PacketOptions } from './packet-options.js';
import { VhostError, VhostSystemError } from '../errors.js';
import { openNetns } from '../sys/link.js';
import type { NativeDescriptor } from '../sys/link.js';
import { PacketSocket } from '../sys/packet-socket.js';
import {
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_USO,
} from '../uapi/virtio-net.js';
import { bit } from '../uapi/virtio.js';
import { allOrNothing } from '../undo.js';

/** The header that the ports of this package agree on: `struct virtio_net_hdr_v1`. */
const HEADER = 12;

/** With a header before each frame, whatever the header can say comes, and may be sent. */
const WITH_HEADER = [
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_USO,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
].reduce((features, number) => features | bit(number), 0n);

/** An interface with a socket bound to it. */
interface OpenPacket {
  readonly host: HostInterface;
  readonly socket: PacketSocket;
}

/** Whether the kernel can put the header before each frame that ports agree on: from Linux 6.6 on. */
function takesHeader(socket: PacketSocket): boolean {
  try {
    socket.setVnetHdrSize(HEADER);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOPROTOOPT') return false;
    throw error;
  }
}

function find(name: string, netns: NativeDescriptor | undefined): HostInterface {
  try {
    return new HostInterface(name, netns);
  } catch (error) {
    if (!(error instanceof VhostSystemError) || error.code !== 'ENODEV') throw error;
    const { errno, syscall, request, path } = error;
    throw new VhostSystemError(-errno, syscall, request, path, `there is no interface ${name}`);
  }
}

/** @throws {VhostError} `ERR_VHOST_BACKEND_TYPE`: vhost takes frames of an Ethernet only. */
export function checkEthernet({ name, found: { mac } }: HostInterface): void {
  if (mac.length === 6) return;
  throw new VhostError(
    'ERR_VHOST_BACKEND_TYPE',
    `${name} has no Ethernet address`,
    'a packet socket needs an Ethernet interface, such as one end of a veth pair',
  );
}

function openPacket(options: CheckedPacketOptions): OpenPacket {
  return allOrNothing((undo) => {
    const netns = options.netns === undefined ? undefined : openNetns(options.netns);
    undo.push(() => netns?.close()); // a second time does nothing
    const host = find(options.packet, netns);
    undo.push(() => {
      host.close();
    });
    checkEthernet(host);
    host.configure(options);
    const socket = new PacketSocket(netns);
    undo.push(() => {
      socket.close();
    });
    socket.setIgnoreOutgoing(true);
    socket.setReceiveBuffer(options.receiveBuffer);
    socket.setSendBuffer(options.sendBuffer);
    if (options.promiscuous) socket.setPromiscuous(host.index);
    return { host, socket };
  });
}

/**
 * A packet socket on an interface as a backend: what the interface receives comes to our receive ring,
 * what we transmit it sends. The host's own network stack goes on using the interface beside us.
 *
 * Nothing tells the sender that unfinished frames are not wanted: they come, and with their headers
 * from Linux 6.6 on.
 */
export class Packet implements Backend {
  readonly name: string;
  readonly features: bigint;
  readonly headerless: boolean;
  readonly unfinished = true;
  readonly strictMtu = true;

  readonly #options: CheckedPacketOptions | undefined;
  #open: OpenPacket;
  #bound = false;
  #listener: LinkListener | undefined;
  #dropped = 0;

  /**
   * Opens a socket for an existing interface, and sets that up. When a step fails, everything done
   * before it is taken back, except what was changed of the interface.
   *
   * @throws {VhostSystemError} The system refused: `ENODEV` of `RTM_GETLINK`: no such interface;
   * `EPERM` of `AF_PACKET`: no CAP_NET_RAW.
   * @throws {VhostError} `ERR_VHOST_BACKEND_TYPE`: an interface without Ethernet.
   * @throws {TypeError} or `RangeError`, naming the option that does not fit.
   */
  static open(options: PacketOptions): Packet {
    const checked = checkPacketOptions(options);
    return new Packet(checked, openPacket(checked));
  }

  /** @internal A socket that somebody else has bound. */
  static adopt(open: OpenPacket): Packet {
    open.socket.setIgnoreOutgoing(true);
    const packet = new Packet(undefined, open);
    packet.#bound = true;
    return packet;
  }

  private constructor(options: CheckedPacketOptions | undefined, open: OpenPacket) {
    this.#options = options;
    this.#open = open;
    this.name = open.host.name;
    try {
      this.headerless = !takesHeader(open.socket);
    } catch (error) {
      this.close();
      throw error;
    }
    this.features = this.headerless ? 0n : WITH_HEADER;
  }

  /** One, which hears nothing before there is an agreement. */
  get queues(): readonly BackendQueue[] {
    return [this.#open.socket];
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#open.socket.closed;
  }

  agree({ headerSize }: BackendAgreement): void {
    const { socket, host } = this.#open;
    const found = this.headerless ? HEADER : this.#setHeader(headerSize);
    if (found !== headerSize) {
      throw new VhostError(
        'ERR_VHOST_HEADER_SIZE',
        `${this.name} has a header of ${String(found)} bytes after it was set to ${String(headerSize)}`,
      );
    }
    if (!this.#bound) socket.bind(host.index);
    this.#bound = true;
    socket.takeError(); // vhost refuses a socket with one, such as that the interface is down
  }

  link(): BackendLink {
    const { host, socket } = this.#open;
    this.#dropped += socket.takeStatistics().dropped;
    return { ...host.link(), queueDropped: this.#dropped };
  }

  lost(): boolean {
    return this.#bound && !this.closed && this.#open.socket.index() === -1;
  }

  watch(listener: LinkListener): void {
    this.#listener = listener;
    this.#open.host.watch(listener);
  }

  reopen(): void {
    const before = this.#open;
    if (!this.#options) {
      const message = `${this.name} is gone, and was opened by somebody else`;
      throw new VhostError('ERR_VHOST_BACKEND_LOST', message);
    }
    this.#open = openPacket(this.#options);
    this.#bound = false;
    before.socket.close();
    before.host.close();
    this.agree({ headerSize: HEADER, features: this.features });
    if (this.#listener) this.#open.host.watch(this.#listener);
  }

  close(): void {
    this.#open.socket.close();
    this.#open.host.close();
  }

  /** The same as {@link close}: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #setHeader(size: number): number {
    const { socket } = this.#open;
    socket.setVnetHdrSize(size);
    return socket.getVnetHdrSize();
  }
}
