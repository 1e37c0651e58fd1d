import { misuse } from '../errors.js';
import {
  PCI_BASE_ADDRESS_0,
  PCI_CACHE_LINE_SIZE,
  PCI_CAPABILITY_LIST,
  PCI_CLASS_DEVICE,
  PCI_COMMAND,
  PCI_COMMAND_INTX_DISABLE,
  PCI_COMMAND_MASTER,
  PCI_COMMAND_MEMORY,
  PCI_DEVICE_ID,
  PCI_INTERRUPT_LINE,
  PCI_REVISION_ID,
  PCI_STATUS,
  PCI_STATUS_CAP_LIST,
  PCI_SUBSYSTEM_ID,
  PCI_SUBSYSTEM_VENDOR_ID,
  PCI_VENDOR_ID,
} from '../uapi/pci.js';

/** Bytes of a function's configuration space, without the extended one of PCI Express. */
export const CONFIG_BYTES = 256;

const BARS = 6;
const BARS_END = PCI_BASE_ADDRESS_0 + 4 * BARS;
const NOWHERE = -1;
/** Capabilities begin behind the header. */
const FIRST_CAPABILITY = 0x40;

/** Who a function says it is. */
export interface PciIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision: number;
  /** Base class, subclass, programming interface: 24 bits. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
}

/**
 * The configuration space of one function: bytes, and which of their bits a driver may change. What
 * else is written to them is ignored, and so a BAR is sized as well as moved by writing it.
 *
 * There is no interrupt line: Interrupt Pin reads 0. Spec: PCI Local Bus 3.0 §6.1, §6.2.
 */
export class PciConfigSpace {
  readonly #bytes = new Uint8Array(CONFIG_BYTES);
  readonly #writable = new Uint8Array(CONFIG_BYTES);
  /** What a reset brings back. */
  readonly #initial = new Uint8Array(CONFIG_BYTES);
  readonly #barBytes = new Float64Array(BARS);
  /** Where each BAR answers now, or {@link NOWHERE}: asked at every access to memory. */
  readonly #barAddresses = new Float64Array(BARS).fill(NOWHERE);
  #end = FIRST_CAPABILITY;
  #lastLink = PCI_CAPABILITY_LIST;

  constructor(identity: PciIdentity) {
    this.#set(PCI_VENDOR_ID, 2, identity.vendorId);
    this.#set(PCI_DEVICE_ID, 2, identity.deviceId);
    this.#set(PCI_REVISION_ID, 1, identity.revision);
    this.#set(PCI_CLASS_DEVICE - 1, 1, identity.classCode & 0xff);
    this.#set(PCI_CLASS_DEVICE, 2, identity.classCode >> 8);
    this.#set(PCI_SUBSYSTEM_VENDOR_ID, 2, identity.subsystemVendorId ?? 0);
    this.#set(PCI_SUBSYSTEM_ID, 2, identity.subsystemId ?? 0);
    const command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;
    this.#allow(PCI_COMMAND, 2, command);
    // Scratch for whoever drives it: nothing here depends on them.
    this.#allow(PCI_CACHE_LINE_SIZE, 1, 0xff);
    this.#allow(PCI_INTERRUPT_LINE, 1, 0xff);
  }

  /**
   * A window of memory with 32-bit addresses, that is not prefetchable.
   *
   * @param byteLength  A power of 2 from 16 on.
   */
  addBar(index: number, byteLength: number): void {
    if (!(index >= 0 && index < BARS)) throw misuse.range('index', 'an integer in 0..5', index);
    if (byteLength < 16 || byteLength > 2 ** 31 || !Number.isInteger(Math.log2(byteLength))) {
      throw misuse.range('byteLength', 'a power of 2 in 16..2^31', byteLength);
    }
    this.#barBytes[index] = byteLength;
    this.#allow(PCI_BASE_ADDRESS_0 + 4 * index, 4, -byteLength >>> 0);
  }

  /** Where a BAR is before anybody moved it, and after a reset: what firmware would do. */
  assignBar(index: number, address: number): void {
    this.#set(PCI_BASE_ADDRESS_0 + 4 * index, 4, address);
    this.#decode();
  }

  /** Bytes of a BAR; 0: there is none. */
  barBytes(index: number): number {
    return this.#barBytes[index] ?? 0;
  }

  /** The guest address at which a BAR answers now; undefined while memory decode is off. */
  barAddress(index: number): number | undefined {
    const address = this.#barAddresses[index] ?? NOWHERE;
    return address === NOWHERE ? undefined : address;
  }

  /**
   * The BAR in which an access lies as a whole; undefined: in none.
   *
   * @param size  Bytes.
   */
  barAt(address: number, size: number): number | undefined {
    for (let bar = 0; bar < BARS; bar++) {
      const start = this.#barAddresses[bar] ?? NOWHERE;
      if (start === NOWHERE || address < start) continue;
      if (address + size <= start + this.barBytes(bar)) return bar;
    }
    return undefined;
  }

  /**
   * Adds to the list of capabilities, in the order of the calls.
   *
   * @param id  `PCI_CAP_ID_*`.
   * @param body  What follows id and link.
   * @param writable  Which bits of the body a driver may change.
   * @returns Where the capability begins.
   */
  addCapability(id: number, body: Uint8Array, writable?: Uint8Array): number {
    const at = this.#end;
    this.#end = (at + 2 + body.length + 3) & ~3;
    if (this.#end > CONFIG_BYTES) throw misuse.range('body', 'within 256 bytes', body.length);
    this.#set(this.#lastLink, 1, at);
    this.#set(PCI_STATUS, 2, PCI_STATUS_CAP_LIST);
    this.#lastLink = at + 1;
    this.#set(at, 1, id);
    this.#bytes.set(body, at + 2);
    this.#initial.set(body, at + 2);
    if (writable) this.#writable.set(writable, at + 2);
    return at;
  }

  /** The space as it is now. For whoever reads. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** @param size  1, 2 or 4, within the space. */
  read(offset: number, size: number): number {
    const bytes = this.#bytes;
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = (value << 8) | (bytes[offset + i] ?? 0xff);
    return value >>> 0;
  }

  /** Changes what may be changed. */
  write(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) {
      const mask = this.#writable[offset + i] ?? 0;
      const old = this.#bytes[offset + i] ?? 0;
      this.#bytes[offset + i] = (old & ~mask) | ((value >>> (8 * i)) & mask);
    }
    if (offset < BARS_END && offset + size > PCI_COMMAND) this.#decode();
  }

  /** As it was before anybody wrote. */
  reset(): void {
    this.#bytes.set(this.#initial);
    this.#decode();
  }

  #decode(): void {
    const decodes = (this.read(PCI_COMMAND, 2) & PCI_COMMAND_MEMORY) !== 0;
    for (let bar = 0; bar < BARS; bar++) {
      const there = decodes && this.barBytes(bar) > 0;
      this.#barAddresses[bar] = there ? this.read(PCI_BASE_ADDRESS_0 + 4 * bar, 4) : NOWHERE;
    }
  }

  #set(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) {
      this.#bytes[offset + i] = this.#initial[offset + i] = (value >>> (8 * i)) & 0xff;
    }
  }

  #allow(offset: number, size: number, mask: number): void {
    for (let i = 0; i < size; i++) this.#writable[offset + i] = (mask >>> (8 * i)) & 0xff;
  }
}
