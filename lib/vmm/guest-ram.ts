import { misuse } from '../errors.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { Pages } from '../sys/pages.js';

/**
 * Guest addresses, from the bottom: RAM up to the hole at the latest, the hole for what is no RAM, and
 * whatever RAM is left from 4 GiB on.
 *
 * The hole ends below the exit register, the interrupt controllers (0xfec00000) and what KVM needs for
 * itself.
 */
export const PCI_HOLE = { start: 0xc0000000, byteLength: 0x3eb00000 } as const;

/** Where a guest that has no ports to write to leaves its exit status, one byte. */
export const EXIT_ADDRESS = 0xfeb00000;

const FOUR_GIB = 2 ** 32;
const MIB = 2 ** 20;
/** What a kernel and its tables need at the very least; and more than any host has. */
const MEMORY_MIB = { least: 32, most: 4 * 2 ** 20 } as const;

/** A range of RAM. */
export interface RamRange {
  readonly guestAddress: number;
  readonly byteLength: number;
}

/**
 * Where RAM lies: below the hole, and from 4 GiB on, there in pieces that one ArrayBuffer can hold.
 *
 * @throws {RangeError} Not a whole number of MiB within what is possible.
 */
export function ramRanges(memoryMiB: number): RamRange[] {
  const { least, most } = MEMORY_MIB;
  if (!Number.isInteger(memoryMiB) || memoryMiB < least || memoryMiB > most) {
    const expected = `an integer in ${String(least)}..${String(most)}`;
    throw misuse.range('memoryMiB', expected, memoryMiB);
  }
  const all = memoryMiB * MIB;
  const low = Math.min(all, PCI_HOLE.start);
  const ranges = [{ guestAddress: 0, byteLength: low }];
  for (let done = low, at = FOUR_GIB; done < all;) {
    const byteLength = Math.min(all - done, FOUR_GIB);
    ranges.push({ guestAddress: at, byteLength });
    done += byteLength;
    at += byteLength;
  }
  return ranges;
}

/** The RAM of a machine. */
export class GuestRam {
  readonly memory: GuestMemory;
  readonly #pages: Pages[] = [];
  #isZero = true;

  /**
   * Private, and in huge pages where the kernel has them: 2 MiB of it are then one entry of the nested
   * tables.
   *
   * @throws {VhostSystemError} `ENOMEM`.
   */
  constructor(memoryMiB: number) {
    const ranges = ramRanges(memoryMiB);
    try {
      for (const { byteLength } of ranges) {
        this.#pages.push(Pages.allocate({ byteLength, hugePages: true }));
      }
    } catch (error) {
      this.#unmap();
      throw error;
    }
    const regions = this.#pages.map(({ address, buffer }, index) => ({
      guestAddress: ranges[index]?.guestAddress ?? 0,
      byteLength: buffer.byteLength,
      hostAddress: address,
      buffer,
    }));
    this.memory = new GuestMemory(regions);
  }

  /** Whether all of it is zero still, as the kernel gave it. Who asks is about to write to it. */
  takeZero(): boolean {
    const isZero = this.#isZero;
    this.#isZero = false;
    return isZero;
  }

  /**
   * Unmaps it.
   *
   * @throws {VhostError} `ERR_VHOST_MEMORY_IN_USE`: the kernel still has an address of it.
   */
  close(): void {
    this.memory.close();
    this.#unmap();
  }

  #unmap(): void {
    for (const pages of this.#pages) pages.close();
  }
}

/**
 * Views of the bytes from a guest address on.
 *
 * @throws {RangeError} They are not in one piece of RAM.
 */
export function bytesAt(memory: GuestMemory, guestAddress: number, length: number): Uint8Array {
  const found = memory.translate(guestAddress, length);
  if (!found) throw misuse.range('guestAddress', `${String(length)} bytes of RAM`, guestAddress);
  return new Uint8Array(found.region.buffer, found.offset, length);
}
