import { PciConfigSpace } from './pci-config.js';
import type { BusDevice } from './platform.js';
import { misuse } from '../errors.js';

/** The ports of configuration mechanism 1: an address, and a window to what it names. */
export const PCI_PORTS = { first: 0xcf8, last: 0xcff } as const;

const DATA = 0xcfc;
const ENABLE = 0x80000000;
/** Enable, bus, device, function, and the number of a double word. */
const ADDRESS_BITS = 0x80fffffc;
const SLOTS = 32;
const BARS = 6;

/** A range of bytes of a configuration space. */
export interface ConfigRange {
  readonly start: number;
  /** Behind the last; `start`: there are none. */
  readonly end: number;
}

/** What can be plugged into the bus. */
export interface PciFunction {
  readonly config: PciConfigSpace;
  /** Bytes of which a read does something, or which change by themselves. */
  readonly asked: ConfigRange;
  /** @param size  1, 2 or 4; with `offset` within 256 bytes. */
  readConfig(offset: number, size: number): number;
  writeConfig(offset: number, size: number, value: number): void;
  /** An access that lies in a BAR as a whole. */
  readBar(bar: number, offset: number, size: number): number;
  writeBar(bar: number, offset: number, size: number, value: number): void;
  /** The state after power-on; whatever runs is stopped. */
  reset(): void;
}

/** The range of guest addresses in which BARs are placed first. */
export interface PciHole {
  readonly start: number;
  readonly byteLength: number;
}

/**
 * Learns what a slot has in its configuration space: at once, and whenever it has changed, before the
 * access that changed it is answered.
 *
 * @param bytes  All 256, to be copied.
 * @param asked  The bytes for which the bus has to be asked all the same.
 */
export type ConfigMirror = (slot: number, bytes: Uint8Array, asked: ConfigRange) => void;

/** What the bus was asked. */
export interface PciBusStatistics {
  /** Reads and writes of functions' configuration space; none that a {@link ConfigMirror} answered. */
  readonly configAccesses: number;
  /** Reads and writes of BARs, doorbells that came to user space among them. */
  readonly barAccesses: number;
}

/** What nobody answers. */
export function allOnes(size: number): number {
  return size >= 4 ? 0xffffffff : (1 << (8 * size)) - 1;
}

/**
 * With a host bridge at 00:00.0 Linux takes mechanism 1 for real without a table that says so, and
 * scans the bus. `arch/x86/pci/direct.c` `pci_sanity_check`.
 */
class HostBridge implements PciFunction {
  readonly config = new PciConfigSpace({
    vendorId: 0x8086,
    deviceId: 0x1237,
    revision: 2,
    classCode: 0x060000,
  });
  readonly asked = { start: 0, end: 0 };

  readConfig(offset: number, size: number): number {
    return this.config.read(offset, size);
  }

  writeConfig(offset: number, size: number, value: number): void {
    this.config.write(offset, size, value);
  }

  readBar(_bar: number, _offset: number, size: number): number {
    return allOnes(size);
  }

  writeBar(): void {
    // It has none.
  }

  reset(): void {
    this.config.reset();
  }
}

/**
 * Bus 0: a host bridge, and a function in each further slot. Reached by {@link ports} and
 * {@link memory}; every address, width and value is answered, what nobody owns with all ones.
 *
 * Spec: PCI Local Bus 3.0 §3.2.2.3.2 "Software Generation of Configuration Transactions".
 */
export class PciBus {
  /** Ports {@link PCI_PORTS}. */
  readonly ports: BusDevice = {
    read: (address, size) => this.#readPort(address, size),
    write: (address, size, value) => {
      this.#writePort(address, size, value);
    },
  };

  /** Guest memory that is no RAM. */
  readonly memory: BusDevice = {
    read: (address, size) => this.#readMemory(address, size),
    write: (address, size, value) => {
      this.#writeMemory(address, size, value);
    },
  };

  readonly #functions: PciFunction[] = [new HostBridge()];
  readonly #holeEnd: number;
  #free: number;
  #address = 0;
  #mirror: ConfigMirror | undefined;
  #configAccesses = 0;
  #barAccesses = 0;
  /** What {@link #find} found: no object for each access. */
  #bar = 0;
  #offset = 0;

  constructor(hole: PciHole) {
    this.#free = hole.start;
    this.#holeEnd = hole.start + hole.byteLength;
  }

  /**
   * Plugs a function into the next slot, and gives each of its BARs a place.
   *
   * @returns The slot.
   * @throws {RangeError} The bus or the hole is full.
   */
  add(device: PciFunction): number {
    const slot = this.#functions.length;
    if (slot >= SLOTS) throw misuse.range('slot', 'one of 31 behind the host bridge', slot);
    for (let bar = 0; bar < BARS; bar++) {
      const byteLength = device.config.barBytes(bar);
      if (byteLength > 0) device.config.assignBar(bar, this.#allocate(byteLength));
    }
    this.#functions.push(device);
    return slot;
  }

  statistics(): PciBusStatistics {
    return { configAccesses: this.#configAccesses, barAccesses: this.#barAccesses };
  }

  /** Who is told from now on; undefined: nobody, and whoever was must not answer any more. */
  mirrorTo(mirror: ConfigMirror | undefined): void {
    this.#mirror = mirror;
    for (const slot of this.#functions.keys()) this.#show(slot);
  }

  /** Resets every function, and the bus. */
  reset(): void {
    this.#address = 0;
    this.#functions.forEach((device, slot) => {
      device.reset();
      this.#show(slot);
    });
  }

  #show(slot: number): void {
    const device = this.#functions[slot];
    if (device) this.#mirror?.(slot, device.config.bytes, device.asked);
  }

  #allocate(byteLength: number): number {
    const address = Math.ceil(this.#free / byteLength) * byteLength;
    if (address + byteLength > this.#holeEnd) {
      throw misuse.range('byteLength', 'within what is left of the hole', byteLength);
    }
    this.#free = address + byteLength;
    return address;
  }

  #readPort(port: number, size: number): number {
    if (port + size > PCI_PORTS.last + 1) return allOnes(size);
    if (port < DATA) return shiftedOut(this.#address, port - PCI_PORTS.first, size);
    const device = this.#selected();
    if (!device) return allOnes(size);
    this.#configAccesses++;
    return device.readConfig((this.#address & 0xfc) + (port - DATA), size);
  }

  #writePort(port: number, size: number, value: number): void {
    if (port + size > PCI_PORTS.last + 1) return;
    if (port < DATA) {
      // Linux looks whether a byte can be written without a word being touched.
      const merged = merge(this.#address, port - PCI_PORTS.first, size, value);
      this.#address = (merged & ADDRESS_BITS) >>> 0;
      return;
    }
    const device = this.#selected();
    if (!device) return;
    this.#configAccesses++;
    try {
      device.writeConfig((this.#address & 0xfc) + (port - DATA), size, value);
    } finally {
      this.#show(this.#slot()); // it may have been written before something failed
    }
  }

  /** Only function 0 of each device of bus 0 is there. */
  #selected(): PciFunction | undefined {
    const address = this.#address;
    if (address < ENABLE || (address & 0x00ff0700) !== 0) return undefined;
    return this.#functions[this.#slot()];
  }

  #slot(): number {
    return (this.#address >> 11) & 0x1f;
  }

  #readMemory(address: number, size: number): number {
    const device = this.#find(address, size);
    if (!device) return allOnes(size);
    this.#barAccesses++;
    return device.readBar(this.#bar, this.#offset, size);
  }

  #writeMemory(address: number, size: number, value: number): void {
    const device = this.#find(address, size);
    if (!device) return;
    this.#barAccesses++;
    device.writeBar(this.#bar, this.#offset, size, value);
  }

  #find(address: number, size: number): PciFunction | undefined {
    for (const device of this.#functions) {
      const bar = device.config.barAt(address, size);
      if (bar === undefined) continue;
      this.#bar = bar;
      this.#offset = address - (device.config.barAddress(bar) ?? 0);
      return device;
    }
    return undefined;
  }
}

/** `size` bytes of a double word from one of its bytes on; what lies behind it reads as ones. */
function shiftedOut(word: number, at: number, size: number): number {
  if (at + size > 4) return allOnes(size);
  return ((word >>> (8 * at)) & allOnes(size)) >>> 0;
}

/** A double word with some of its bytes replaced. */
function merge(word: number, at: number, size: number, value: number): number {
  if (at + size > 4) return word;
  const mask = allOnes(size) << (8 * at);
  return (word & ~mask) | ((value << (8 * at)) & mask);
}
