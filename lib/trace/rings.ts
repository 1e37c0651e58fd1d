import fs from 'node:fs';

import { splitLayout } from '../index.js';
import type { IoctlMessage, MemoryTableRow, SplitLayout } from '../index.js';

/** What a descriptor says. `struct vring_desc`. */
export interface Descriptor {
  readonly address: bigint;
  readonly length: number;
}

/** One virtqueue as it lay in memory at one moment. */
export class RingImage {
  readonly #bytes: Buffer;
  readonly #layout: SplitLayout;
  readonly #size: number;

  constructor(bytes: Buffer, size: number) {
    this.#bytes = bytes;
    this.#size = size;
    this.#layout = splitLayout(size);
  }

  /** How far the driver is. */
  get availIdx(): number {
    return this.#bytes.readUInt16LE(this.#layout.avail + 2);
  }

  /** How far the device is. */
  get usedIdx(): number {
    return this.#bytes.readUInt16LE(this.#layout.used + 2);
  }

  /** The driver wants a call when the used index passes this. */
  get usedEvent(): number {
    return this.#bytes.readUInt16LE(this.#layout.usedEvent);
  }

  /** The device wants a kick when the avail index passes this. */
  get availEvent(): number {
    return this.#bytes.readUInt16LE(this.#layout.availEvent);
  }

  /** The head that the driver put at this index. */
  availHead(index: number): number {
    return this.#bytes.readUInt16LE(this.#layout.avail + 4 + 2 * (index % this.#size));
  }

  /** The head that the device gave back at this index, and the bytes that it says it wrote. */
  used(index: number): { head: number; length: number } {
    const at = this.#layout.used + 4 + 8 * (index % this.#size);
    return { head: this.#bytes.readUInt32LE(at), length: this.#bytes.readUInt32LE(at + 4) };
  }

  descriptor(id: number): Descriptor {
    const address = this.#bytes.readBigUInt64LE(16 * id);
    return { address, length: this.#bytes.readUInt32LE(16 * id + 8) };
  }
}

/** Both rings at one moment. */
export interface RingImages {
  readonly receive: RingImage;
  readonly transmit: RingImage;
}

/** What the kernel was told of one vring. */
interface Vring {
  size: number;
  start: bigint;
  /** Numbers of its eventfds. */
  kick: number;
  call: number;
}

/** What ioctls on rings and memory are given, each some of it. */
interface RingArguments {
  readonly index?: number;
  readonly rows?: readonly MemoryTableRow[];
  readonly size?: number;
  readonly fd?: number;
  readonly desc?: bigint;
}

/**
 * Reads the rings and slots of a port of this process where the kernel was told that they lie, past
 * the port: through `/proc/self/mem`. What it is told it hears on the channel `vhost-net:ioctl`.
 */
export class RingReader {
  readonly receive: Vring = { size: 0, start: 0n, kick: -1, call: -1 };
  readonly transmit: Vring = { size: 0, start: 0n, kick: -1, call: -1 };

  readonly #memory = fs.openSync('/proc/self/mem', 'r');
  #rows: readonly MemoryTableRow[] = [];

  /** Takes from an ioctl what it says of rings and memory. */
  hear({ request, arguments: given, error }: IoctlMessage): void {
    if (error) return;
    const { index, rows, size, fd, desc } = given as RingArguments;
    const vring = index === 0 ? this.receive : this.transmit;
    if (request === 'VHOST_SET_MEM_TABLE') this.#rows = rows ?? [];
    if (request === 'VHOST_SET_VRING_NUM') vring.size = size ?? 0;
    if (request === 'VHOST_SET_VRING_ADDR') vring.start = desc ?? 0n;
    if (request === 'VHOST_SET_VRING_KICK') vring.kick = fd ?? -1;
    if (request === 'VHOST_SET_VRING_CALL') vring.call = fd ?? -1;
  }

  /** Both rings as they lie there now. */
  look(): RingImages {
    return { receive: this.#look(this.receive), transmit: this.#look(this.transmit) };
  }

  /** What a descriptor names: from its beginning on so many bytes. */
  slot({ address }: Descriptor, length: number): Buffer {
    const row = this.#rows.find(
      ({ guestAddress, byteLength }) =>
        address >= guestAddress && address + BigInt(length) <= guestAddress + byteLength,
    );
    if (!row) throw new Error(`descriptor address ${String(address)} is in no row of the table`);
    return this.#read(row.hostAddress + address - row.guestAddress, length);
  }

  close(): void {
    fs.closeSync(this.#memory);
  }

  #look({ start, size }: Vring): RingImage {
    return new RingImage(this.#read(start, splitLayout(size).byteLength), size);
  }

  #read(address: bigint, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    fs.readSync(this.#memory, bytes, 0, length, address);
    return bytes;
  }
}
