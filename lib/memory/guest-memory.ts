import { VhostError, misuse } from '../errors.js';

/** A range of guest addresses and the bytes behind it. */
export interface MemoryRegion {
  /** Where descriptors see it; a safe integer. */
  readonly guestAddress: number;
  /** Where the kernel finds it in this process. */
  readonly hostAddress: bigint;
  /** The bytes themselves. */
  readonly buffer: ArrayBuffer;
  /** Bytes; the region is the beginning of `buffer`. */
  readonly byteLength: number;
}

/** A place in memory, found by its guest address. */
export interface Translation {
  /** The region that it lies in. */
  readonly region: MemoryRegion;
  /** Bytes from the beginning of the region's buffer. */
  readonly offset: number;
}

/** Says that somebody told the kernel an address of this memory. */
export interface Pin {
  /** Takes it back: the kernel has forgotten the address. */
  release(): void;
}

/**
 * What descriptors may name: regions over any ArrayBuffers, at guest addresses that a double can
 * hold. Whoever tells the kernel where it lies takes a {@link pin}; with pins it refuses to close,
 * because memory that goes under a running worker is overwritten for whoever gets it next.
 */
export class GuestMemory {
  /** In ascending order of guest addresses. */
  readonly regions: readonly MemoryRegion[];

  readonly #holders = new Map<symbol, string>();
  #closed = false;

  /** @throws {RangeError} No region, an empty or unaligned one, or two that overlap. */
  constructor(regions: readonly MemoryRegion[]) {
    if (regions.length === 0) throw misuse.range('regions', 'at least one region', regions);
    this.regions = [...regions].sort((a, b) => a.guestAddress - b.guestAddress);
    this.regions.forEach(checkRegion);
    this.regions.reduce((before, region) => {
      if (before.guestAddress + before.byteLength > region.guestAddress) {
        throw misuse.range('regions', 'free of overlaps', [
          before.guestAddress,
          region.guestAddress,
        ]);
      }
      return region;
    });
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Who has a pin. */
  get holders(): readonly string[] {
    return [...this.#holders.values()];
  }

  /**
   * The place of a guest address.
   *
   * @param length  Bytes that must follow in the same region.
   * @returns Undefined when any of these bytes is in no region, or in a further one.
   */
  translate(guestAddress: number, length: number): Translation | undefined {
    const region = this.regions.findLast((one) => one.guestAddress <= guestAddress);
    if (!region || !Number.isSafeInteger(guestAddress) || !(length >= 0)) return undefined;
    const offset = guestAddress - region.guestAddress;
    return offset + length <= region.byteLength ? { region, offset } : undefined;
  }

  /**
   * The host virtual address of a guest address.
   *
   * @throws {RangeError} The bytes are not in one region.
   */
  hostAddress(guestAddress: number, length: number): bigint {
    const found = this.translate(guestAddress, length);
    if (!found)
      throw misuse.range('guestAddress', `${String(length)} bytes in one region`, guestAddress);
    return found.region.hostAddress + BigInt(found.offset);
  }

  /**
   * Keeps the memory from closing.
   *
   * @param holder  Who, for the message of whoever tries.
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   */
  pin(holder: string): Pin {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', 'guest memory is closed');
    const key = Symbol(holder);
    this.#holders.set(key, holder);
    return { release: () => void this.#holders.delete(key) };
  }

  /**
   * Ends the use of the memory; what is behind the regions is the caller's to unmap.
   *
   * @throws {VhostError} `ERR_VHOST_MEMORY_IN_USE`, naming who has a pin.
   */
  close(): void {
    if (this.#holders.size > 0) {
      const holders = this.holders.join(', ');
      throw new VhostError('ERR_VHOST_MEMORY_IN_USE', `guest memory is used by ${holders}`);
    }
    this.#closed = true;
  }

  /** The same as {@link close}: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

function checkRegion(region: MemoryRegion): void {
  const { guestAddress, byteLength, buffer } = region;
  const end = guestAddress + byteLength;
  if (guestAddress < 0 || !Number.isSafeInteger(guestAddress) || !Number.isSafeInteger(end)) {
    throw misuse.range('guestAddress', 'a safe integer from 0 on', guestAddress);
  }
  if (!Number.isInteger(byteLength) || byteLength < 1 || byteLength > buffer.byteLength) {
    throw misuse.range('byteLength', `an integer in 1..${String(buffer.byteLength)}`, byteLength);
  }
}
