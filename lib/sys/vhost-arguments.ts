import { misuse } from '../errors.js';
import type { NativeDescriptor } from '../native.js';
import {
  VHOST_FORK_OWNER_KTHREAD,
  VHOST_FORK_OWNER_TASK,
  VHOST_VRING_BIG_ENDIAN,
  VHOST_VRING_LITTLE_ENDIAN,
} from '../uapi/vhost.js';

/** A guest-address range and the memory behind it. `struct vhost_memory_region`. */
export interface MemoryTableRow {
  /** Where descriptors see it. */
  readonly guestAddress: bigint;
  /** Bytes, at least 1. */
  readonly byteLength: bigint;
  /** Inside {@link Pages} of this process. */
  readonly hostAddress: bigint;
}

/** Host virtual addresses of one vring's parts. `struct vhost_vring_addr`. */
export interface VringAddresses {
  /** 16-aligned (not checked by the kernel). */
  readonly desc: bigint;
  /** 2-aligned. */
  readonly avail: bigint;
  /** 4-aligned. */
  readonly used: bigint;
  /**
   * Where the used ring would lie if descriptors could name it: writes to it are logged as if it did.
   * A *guest* address, 4-aligned. Absent: they are not logged.
   */
  readonly log?: bigint;
}

/** Where vhost marks the pages that it wrote. */
export interface DirtyLog {
  /** Inside {@link Pages} of this process. */
  readonly hostAddress: bigint;
  /** Each byte is for 8 pages of 4 KiB of guest addresses, from 0 on; the lowest bit is the first. */
  readonly byteLength: bigint;
}

/** The order of bytes in a vring without `VIRTIO_F_VERSION_1`. */
export type VringEndian = 'little' | 'big';

/** The same, as the kernel numbers it. */
export const ENDIANS = { little: VHOST_VRING_LITTLE_ENDIAN, big: VHOST_VRING_BIG_ENDIAN } as const;

/** What a worker can be, as the kernel numbers it. */
export const WORKER_KINDS = {
  kthread: VHOST_FORK_OWNER_KTHREAD,
  task: VHOST_FORK_OWNER_TASK,
} as const;

/** Which kernels have what others lack. */
export const SINCE = {
  featuresArray: 'Linux 6.17',
  forkFromOwner: 'Linux 6.17, or a stable one of 6.12 with CONFIG_VHOST_ENABLE_FORK_OWNER_CONTROL',
  endian: 'CONFIG_VHOST_CROSS_ENDIAN_LEGACY, which distributions leave off',
} as const;

/** The number of a choice, or the complaint about what is none of them. */
export function choose(
  option: string,
  choices: Readonly<Record<string, number>>,
  name: string,
): number {
  const number = Object.hasOwn(choices, name) ? choices[name] : undefined;
  if (number !== undefined) return number;
  const known = Object.keys(choices).map((choice) => `'${choice}'`);
  throw misuse.range(option, known.join(' or '), name);
}

/** What stands behind a vring: anything with a descriptor that vhost-net takes as a backend. */
export interface BackendDescriptor {
  /** A tap, a macvtap or a packet socket. */
  readonly descriptor: NativeDescriptor;
}

/** Any object: of its fields the addon says which one does not fit. */
export function checkObject(option: string, value: unknown): void {
  if (typeof value !== 'object' || value === null) throw misuse.type(option, 'an object', value);
}

/** The rows of a memory table as the addon takes them. */
export function tableRows(
  rows: readonly MemoryTableRow[],
): (readonly [guestAddress: bigint, byteLength: bigint, hostAddress: bigint])[] {
  if (!Array.isArray(rows)) throw misuse.type('rows', 'an array of rows', rows);
  return Array.from(rows as readonly MemoryTableRow[], (row, i) => {
    checkObject(`rows[${String(i)}]`, row);
    return [row.guestAddress, row.byteLength, row.hostAddress] as const;
  });
}

/** The descriptor to set; undefined sets none, and nothing else does: what was forgotten is no wish. */
export function descriptorOf(
  option: string,
  expected: string,
  given: { readonly descriptor: NativeDescriptor } | undefined,
): NativeDescriptor | undefined {
  if (given === undefined) return undefined;
  const { descriptor } = Object(given) as { descriptor?: unknown };
  if (typeof descriptor === 'object' && descriptor !== null) return given.descriptor;
  throw misuse.type(option, expected, given);
}

/** The same of an eventfd. */
export function eventfdOf(
  eventfd: { readonly descriptor: NativeDescriptor } | undefined,
): NativeDescriptor | undefined {
  return descriptorOf('eventfd', 'an EventFd, or undefined for none', eventfd);
}
