import { VIRTIO_NET_S_ANNOUNCE, VIRTIO_NET_S_LINK_UP } from '../uapi/virtio-net.js';

/** Offsets of `struct virtio_net_config`. Virtio 1.2 §5.1.4 "Device configuration layout". */
const MAC = 0;
const STATUS = 6;
const MAX_PAIRS = 8;
const MTU = 10;
const SPEED = 12;
const DUPLEX = 16;

const MAC_BYTES = 6;
const UNKNOWN_SPEED = 0xffffffff;
const FULL_DUPLEX = 1;

/** What a guest can read of a network device, as bytes: it reads any of them, in any width. */
export class NetConfig {
  /** Bytes; the last three are padding. */
  static readonly BYTES = 20;

  readonly #view = new DataView(new ArrayBuffer(NetConfig.BYTES));

  /**
   * @param mac  6 bytes.
   * @param speed  Mbit/s; undefined: unknown.
   */
  constructor(mac: Uint8Array, maxPairs: number, mtu: number, speed: number | undefined) {
    this.mac = mac;
    this.mtu = mtu;
    this.#view.setUint16(STATUS, VIRTIO_NET_S_LINK_UP, true);
    this.#view.setUint16(MAX_PAIRS, maxPairs, true);
    this.#view.setUint32(SPEED, speed ?? UNKNOWN_SPEED, true);
    this.#view.setUint8(DUPLEX, FULL_DUPLEX);
  }

  /** A copy of the 6 bytes. */
  get mac(): Uint8Array {
    return new Uint8Array(this.#view.buffer.slice(MAC, MAC_BYTES));
  }

  set mac(bytes: Uint8Array) {
    new Uint8Array(this.#view.buffer).set(bytes.subarray(0, MAC_BYTES), MAC);
  }

  get mtu(): number {
    return this.#view.getUint16(MTU, true);
  }

  set mtu(bytes: number) {
    this.#view.setUint16(MTU, bytes, true);
  }

  get linkUp(): boolean {
    return this.#hasStatus(VIRTIO_NET_S_LINK_UP);
  }

  set linkUp(up: boolean) {
    this.#setStatus(VIRTIO_NET_S_LINK_UP, up);
  }

  /** Whether the driver is asked to say where it is, and has not answered yet. */
  get announce(): boolean {
    return this.#hasStatus(VIRTIO_NET_S_ANNOUNCE);
  }

  set announce(wanted: boolean) {
    this.#setStatus(VIRTIO_NET_S_ANNOUNCE, wanted);
  }

  /** @param size  1, 2 or 4; within {@link BYTES}, also unaligned. */
  read(offset: number, size: number): number {
    if (size === 4) return this.#view.getUint32(offset, true);
    return size === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint8(offset);
  }

  #hasStatus(mask: number): boolean {
    return (this.#view.getUint16(STATUS, true) & mask) !== 0;
  }

  #setStatus(mask: number, on: boolean): void {
    const status = this.#view.getUint16(STATUS, true);
    this.#view.setUint16(STATUS, on ? status | mask : status & ~mask, true);
  }
}
