import type { Content, ImageFile } from './image-file.js';
import { VhostError } from '../errors.js';

/**
 * What a boot loader reads of a Linux kernel, and where its parts go.
 *
 * Spec: `Documentation/arch/x86/boot.rst` "The Real-Mode Kernel Header"; offsets count from the
 * beginning of the file, which are also those of the zero page.
 */
export const SETUP = {
  begin: 0x1f1,
  bootFlag: 0x1fe,
  jumpLength: 0x201,
  magic: 0x202,
  version: 0x206,
  loader: 0x210,
  loadFlags: 0x211,
  initrd: 0x218,
  initrdLength: 0x21c,
  commandLine: 0x228,
  initrdMost: 0x22c,
  alignment: 0x230,
  relocatable: 0x234,
  extraFlags: 0x236,
  commandLineMost: 0x238,
  payload: 0x248,
  payloadLength: 0x24c,
  preferred: 0x258,
  initLength: 0x260,
  /** The longest that a header can be: behind it the zero page goes on with other things. */
  end: 0x290,
} as const;

const BOOT_FLAG = 0xaa55;
const MAGIC = 0x53726448; // HdrS
/** Protocol 2.12, Linux 3.8: the first that can tell of a 64-bit entry. */
const OLDEST = 0x020c;
/** `xloadflags`: there is a 64-bit entry. */
const XLF_KERNEL_64 = 1;
const SECTOR = 512;
const ENTRY_64 = 0x200;

/** Where the protected part of a bzImage goes; it moves itself to where it wants to be. */
const LOAD_ADDRESS = 0x100000;

/** Bytes, and where they go. */
export interface KernelSegment {
  readonly address: number;
  readonly content: Content;
  /** With what is zero behind the bytes. */
  readonly memoryLength: number;
}

/** A kernel that can be loaded. */
export interface KernelImage {
  /** From {@link SETUP}.begin on, for the zero page. */
  readonly header: Uint8Array;
  readonly segments: readonly KernelSegment[];
  /** Where the first vCPU begins, in 64-bit mode. */
  readonly entry: number;
  /** The first address that the kernel does not use before it knows what memory there is. */
  readonly end: number;
  /** The last address that an initrd may have. */
  readonly initrdMost: number;
  /** Bytes of a command line, without its terminator. */
  readonly commandLineMost: number;
}

function refuse(reason: string): never {
  throw new VhostError('ERR_VHOST_KERNEL_IMAGE', `this is no kernel that can be booted: ${reason}`);
}

/** The header of a kernel file, where it is in the file: every field is there. */
function setupOf(file: ImageFile): Uint8Array {
  if (file.byteLength < SETUP.end) refuse(`${String(file.byteLength)} bytes are too short`);
  return file.bytes(0, SETUP.end);
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

/** Whether a file is an ELF, as an uncompressed kernel is. */
export function isElf(file: ImageFile): boolean {
  const [a, b, c] = file.bytes(0, 4);
  return a === 0x7f && b === 0x45 && c === 0x4c;
}

/**
 * Reads a bzImage.
 *
 * @throws {VhostError} `ERR_VHOST_KERNEL_IMAGE`, with what is wrong with it.
 */
export function readBzImage(file: ImageFile): KernelImage {
  const setup = setupOf(file);
  const view = viewOf(setup);
  checkSetup(view);
  const start = protectedStart(view);
  if (start >= file.byteLength) refuse('it ends before its protected-mode part');
  const length = file.byteLength - start;
  const preferred = Number(view.getBigUint64(SETUP.preferred, true));
  return {
    ...limits(view),
    header: headerOf(setup),
    segments: [{ address: LOAD_ADDRESS, content: file.part(start, length), memoryLength: length }],
    entry: LOAD_ADDRESS + ENTRY_64,
    end: Math.max(preferred, LOAD_ADDRESS) + view.getUint32(SETUP.initLength, true),
  };
}

function checkSetup(view: DataView): void {
  if (view.getUint16(SETUP.bootFlag, true) !== BOOT_FLAG) refuse('it has no boot flag');
  if (view.getUint32(SETUP.magic, true) !== MAGIC) refuse('it has no setup header');
  const version = view.getUint16(SETUP.version, true);
  if (version < OLDEST) {
    refuse(`boot protocol ${version.toString(16)} is older than 2.12 (Linux 3.8)`);
  }
  if ((view.getUint16(SETUP.extraFlags, true) & XLF_KERNEL_64) === 0) {
    refuse('it has no 64-bit entry (a 32-bit kernel?)');
  }
}

/** Behind the real-mode part; 0 sectors of it mean 4. */
function protectedStart(view: DataView): number {
  return ((view.getUint8(SETUP.begin) || 4) + 1) * SECTOR;
}

function limits(view: DataView): { initrdMost: number; commandLineMost: number } {
  return {
    initrdMost: view.getUint32(SETUP.initrdMost, true),
    commandLineMost: view.getUint32(SETUP.commandLineMost, true),
  };
}

function headerOf(setup: Uint8Array): Uint8Array {
  const end = SETUP.magic + (setup[SETUP.jumpLength] ?? 0);
  return setup.slice(SETUP.begin, Math.min(end, SETUP.end));
}

/**
 * Where in a bzImage the compressed kernel is.
 *
 * @throws {VhostError} `ERR_VHOST_KERNEL_IMAGE`.
 */
export function payloadOf(file: ImageFile): { start: number; length: number } {
  const view = viewOf(setupOf(file));
  checkSetup(view);
  const start = protectedStart(view) + view.getUint32(SETUP.payload, true);
  const length = view.getUint32(SETUP.payloadLength, true);
  if (start + length > file.byteLength) refuse('it ends within its payload');
  return { start, length };
}

/** Whether no two segments have an address in common: then the order in which they are loaded does not matter. */
export function areApart(segments: readonly KernelSegment[]): boolean {
  const sorted = segments.toSorted((a, b) => a.address - b.address);
  return sorted.every(({ address }, index) => {
    const before = sorted[index - 1];
    return !before || before.address + before.memoryLength <= address;
  });
}

const ET_EXEC = 2;
const PT_LOAD = 1;
const PT_INTERP = 3;
const EM_X86_64 = 62;
const ELF_HEADER = 64;
const PROGRAM_HEADER = 56;

/**
 * Reads an uncompressed kernel.
 *
 * @param bzImage  Where it was taken from: its header knows what the kernel itself does not tell.
 * @throws {VhostError} `ERR_VHOST_KERNEL_IMAGE`, with what is wrong with it.
 */
export function readVmlinux(file: ImageFile, bzImage?: ImageFile): KernelImage {
  if (!isElf(file) || file.byteLength < ELF_HEADER) refuse('it is no ELF file');
  const view = viewOf(file.bytes(0, ELF_HEADER));
  if (view.getUint8(4) !== 2 || view.getUint16(18, true) !== EM_X86_64) {
    refuse('it is no ELF file of x86-64');
  }
  const segments = elfSegments(view, file);
  checkProgram(view, segments);
  const ends = segments.map(({ address, memoryLength }) => address + memoryLength);
  const setup = bzImage && setupOf(bzImage);
  return {
    ...(setup ? limits(viewOf(setup)) : { initrdMost: 0x7fffffff, commandLineMost: 2047 }),
    header: setup ? headerOf(setup) : plainHeader(),
    segments,
    entry: Number(view.getBigUint64(24, true)),
    end: Math.max(...ends, bzImage ? readBzImage(bzImage).end : 0),
  };
}

/** What a program of user space, or one that moves itself, is not. */
function checkProgram(view: DataView, segments: readonly KernelSegment[]): void {
  if (view.getUint16(16, true) !== ET_EXEC) refuse('it is an ELF file, but no kernel');
  const entry = Number(view.getBigUint64(24, true));
  const inside = segments.some(
    ({ address, memoryLength }) => entry >= address && entry < address + memoryLength,
  );
  const low = segments.some(({ address }) => address < LOAD_ADDRESS);
  if (!inside || low) refuse('its segments are not where a kernel has them');
}

function elfSegments(view: DataView, file: ImageFile): KernelSegment[] {
  const start = Number(view.getBigUint64(32, true));
  const count = view.getUint16(56, true);
  const table = viewOf(file.bytes(start, count * PROGRAM_HEADER));
  if (table.byteLength < count * PROGRAM_HEADER) refuse('its program headers are cut off');
  const segments = Array.from({ length: count }, (_, index) =>
    elfSegment(table, file, index * PROGRAM_HEADER),
  ).filter((one) => one !== undefined);
  if (segments.length === 0) refuse('it has nothing to load');
  return segments;
}

function elfSegment(table: DataView, file: ImageFile, at: number): KernelSegment | undefined {
  const field = (offset: number) => Number(table.getBigUint64(at + offset, true));
  const type = table.getUint32(at, true);
  if (type === PT_INTERP) refuse('it is a program that needs a kernel');
  if (type !== PT_LOAD) return undefined;
  const [start, address, length, memoryLength] = [field(8), field(24), field(32), field(40)];
  if (start + length > file.byteLength) refuse('it ends within a segment');
  if (memoryLength < length) refuse('a segment is longer than its memory');
  return { address, content: file.part(start, length), memoryLength };
}

/** Of a kernel that came without a header: what the kernel itself looks at. */
function plainHeader(): Uint8Array {
  const view = new DataView(new ArrayBuffer(SETUP.end));
  view.setUint16(SETUP.bootFlag, BOOT_FLAG, true);
  view.setUint32(SETUP.magic, MAGIC, true);
  view.setUint16(SETUP.version, OLDEST, true);
  view.setUint8(SETUP.loadFlags, 1);
  return new Uint8Array(view.buffer).slice(SETUP.begin);
}
