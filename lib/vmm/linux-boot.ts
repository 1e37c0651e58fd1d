import { ACPI_TABLES, writeAcpiTables } from './acpi.js';
import { bytesAt } from './guest-ram.js';
import { SETUP, areApart } from './kernel-image.js';
import type { Content } from './image-file.js';
import type { KernelImage } from './kernel-image.js';
import { misuse } from '../errors.js';
import type { GuestMemory } from '../memory/guest-memory.js';

/**
 * Where the loader's own things lie, all in the first 640 KiB, which the kernel is told not to touch
 * before it has read them.
 */
export const LAYOUT = {
  gdt: 0x500,
  zeroPage: 0x7000,
  pageTables: 0x9000,
  commandLine: 0x20000,
  lowEnd: 0x9fc00,
} as const;

/** Fields of the zero page that are none of the header. `Documentation/arch/x86/zero-page.rst`. */
const ZERO_PAGE = { length: 4096, rsdp: 0x70, e820Count: 0x1e8, e820: 0x2d0, e820Row: 20 } as const;

const E820_RAM = 1;
const E820_RESERVED = 2;
const PAGE = 4096;
/** `type_of_loader`: one that was given no number. */
const UNKNOWN_LOADER = 0xff;

/** What the guest is to boot. */
export interface LinuxBoot {
  readonly kernel: KernelImage;
  readonly initrd?: Content | undefined;
  readonly commandLine: string;
}

/** Where the first vCPU begins. */
export interface BootEntry {
  readonly instruction: number;
  /** For `rsi`. */
  readonly zeroPage: number;
}

/** What a kernel is loaded into. */
export interface LoadOptions {
  /** How many processors the tables of ACPI tell of; by default 1. */
  readonly cpus?: number;
  /** Whether the memory is zero: then what is to be zero is not touched. */
  readonly isZero?: boolean;
}

/**
 * Puts a kernel and what it is told into memory, for the 64-bit entry. What the memory held is
 * overwritten only where something is loaded.
 *
 * Spec: `Documentation/arch/x86/boot.rst` "64-bit Boot Protocol".
 *
 * @throws {RangeError} The kernel, the initrd or the command line do not fit.
 * @throws {VhostError} `ERR_VHOST_KERNEL_IMAGE`: a file was written to meanwhile.
 */
export function loadLinux(
  memory: GuestMemory,
  boot: LinuxBoot,
  { cpus = 1, isZero = false }: LoadOptions = {},
): BootEntry {
  const { kernel, initrd, commandLine } = boot;
  if (!isZero) {
    // Tables that somebody left there would be taken for this machine's.
    bytesAt(memory, 0, LAYOUT.lowEnd).fill(0);
    bytesAt(memory, ACPI_TABLES.start, ACPI_TABLES.end - ACPI_TABLES.start).fill(0);
  }
  loadKernel(memory, kernel, isZero);
  const place = initrd && initrd.byteLength > 0 ? loadInitrd(memory, kernel, initrd) : undefined;
  loadCommandLine(memory, kernel, commandLine);
  writeZeroPage(memory, kernel, place, writeAcpiTables(memory, cpus));
  return { instruction: kernel.entry, zeroPage: LAYOUT.zeroPage };
}

/** The first address behind the RAM that begins at 0. */
function lowEnd(memory: GuestMemory): number {
  return memory.regions[0]?.byteLength ?? 0;
}

function loadKernel(memory: GuestMemory, kernel: KernelImage, isZero: boolean): void {
  const end = lowEnd(memory);
  if (kernel.end > end) {
    const needed = Math.ceil(kernel.end / 2 ** 20);
    throw misuse.range('memoryMiB', `at least ${String(needed)} for this kernel`, end / 2 ** 20);
  }
  const isUntouched = isZero && areApart(kernel.segments);
  for (const { address, content, memoryLength } of kernel.segments) {
    const target = bytesAt(memory, address, memoryLength);
    content.copyTo(target.subarray(0, content.byteLength));
    if (!isUntouched) target.fill(0, content.byteLength);
  }
}

/** As high as the kernel allows: below, it unpacks and grows. */
function loadInitrd(memory: GuestMemory, kernel: KernelImage, initrd: Content) {
  const end = Math.min(lowEnd(memory), kernel.initrdMost + 1);
  const start = Math.floor((end - initrd.byteLength) / PAGE) * PAGE;
  if (start < kernel.end) {
    const room = Math.max(end - kernel.end, 0);
    const expected = `at most the ${String(room)} bytes beside the kernel (memoryMiB)`;
    throw misuse.range('initrd', expected, initrd.byteLength);
  }
  initrd.copyTo(bytesAt(memory, start, initrd.byteLength));
  return { start, length: initrd.byteLength };
}

function loadCommandLine(memory: GuestMemory, kernel: KernelImage, text: string): void {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.includes(0) || bytes.byteLength > kernel.commandLineMost) {
    const expected = `at most ${String(kernel.commandLineMost)} bytes without NUL`;
    throw misuse.range('commandLine', expected, text);
  }
  // The terminator is there: this memory was cleared.
  bytesAt(memory, LAYOUT.commandLine, bytes.byteLength).set(bytes);
}

function writeZeroPage(
  memory: GuestMemory,
  kernel: KernelImage,
  initrd: { start: number; length: number } | undefined,
  rsdp: number,
): void {
  const page = bytesAt(memory, LAYOUT.zeroPage, ZERO_PAGE.length);
  page.set(kernel.header, SETUP.begin);
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  view.setUint8(SETUP.loader, UNKNOWN_LOADER);
  view.setBigUint64(ZERO_PAGE.rsdp, BigInt(rsdp), true);
  view.setUint32(SETUP.commandLine, LAYOUT.commandLine, true);
  view.setUint32(SETUP.initrd, initrd?.start ?? 0, true);
  view.setUint32(SETUP.initrdLength, initrd?.length ?? 0, true);
  const rows = e820(memory);
  view.setUint8(ZERO_PAGE.e820Count, rows.length);
  rows.forEach(([start, end, type], index) => {
    const at = ZERO_PAGE.e820 + index * ZERO_PAGE.e820Row;
    view.setBigUint64(at, BigInt(start), true);
    view.setBigUint64(at + 8, BigInt(end - start), true);
    view.setUint32(at + 16, type, true);
  });
}

type E820Row = readonly [start: number, end: number, type: number];

/** What is RAM. Pieces that touch are one: the kernel can not know of our buffers' limits. */
export function e820(memory: GuestMemory): E820Row[] {
  const rows: E820Row[] = [
    [0, LAYOUT.lowEnd, E820_RAM],
    [LAYOUT.lowEnd, 0xa0000, E820_RESERVED],
    [ACPI_TABLES.start, ACPI_TABLES.end, E820_RESERVED],
    [ACPI_TABLES.end, lowEnd(memory), E820_RAM],
  ];
  const high = memory.regions.slice(1);
  const first = high[0];
  const last = high.at(-1);
  if (first && last) {
    rows.push([first.guestAddress, last.guestAddress + last.byteLength, E820_RAM]);
  }
  return rows;
}
