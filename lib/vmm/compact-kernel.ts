/**
 * A kernel without what a boot does not need. A third of what is loaded of a distribution's kernel is zero, which
 * memory that nobody wrote to is already; and what is not loaded at all is for debuggers.
 */

const PAGE = 4096;
/** Zeros that are worth a segment. */
const LEAST_RUN = 16 * PAGE;

const PT_LOAD = 1;
const PT_NOTE = 4;
const ELF_HEADER = 64;
const PROGRAM_HEADER = 56;

/** Fields of an ELF header and of a program header. `elf.h`: `Elf64_Ehdr`, `Elf64_Phdr`. */
const ELF = { programs: 32, sections: 40, programCount: 56, sectionCount: 60, names: 62 } as const;
const PROGRAM = { offset: 8, virtual: 16, physical: 24, fileLength: 32, memoryLength: 40 } as const;

/** Where something is, from the beginning of a segment. */
interface Piece {
  readonly start: number;
  /** Where its bytes end; zeros follow, to the next piece. */
  readonly end: number;
}

/** A program header, and the bytes that it leads to. */
interface Program {
  readonly header: Buffer;
  readonly content: Buffer;
}

/** All of a segment, in pieces that end where many zeros begin. */
function piecesOf(segment: Buffer): Piece[] {
  const zeros = Buffer.alloc(PAGE);
  const pieces: { start: number; end: number }[] = [{ start: 0, end: 0 }];
  for (let at = 0; at < segment.length; at += PAGE) {
    const page = segment.subarray(at, at + PAGE);
    if (page.equals(zeros.subarray(0, page.length))) continue;
    const last = pieces.at(-1);
    if (last && at - last.end < LEAST_RUN) last.end = at + page.length;
    else pieces.push({ start: at, end: at + page.length });
  }
  return pieces;
}

const field = (header: Buffer, at: number) => Number(header.readBigUInt64LE(at));
const add = (header: Buffer, at: number, value: number) =>
  header.writeBigUInt64LE(BigInt.asUintN(64, header.readBigUInt64LE(at) + BigInt(value)), at);

function contentOf(kernel: Buffer, header: Buffer): Buffer {
  const offset = field(header, PROGRAM.offset);
  return kernel.subarray(offset, offset + field(header, PROGRAM.fileLength));
}

/** One header for each piece; what is behind a piece's bytes is memory of its own. */
function split(kernel: Buffer, whole: Buffer): Program[] {
  const content = contentOf(kernel, whole);
  const pieces = piecesOf(content);
  return pieces.map(({ start, end }, index) => {
    const next = pieces[index + 1]?.start ?? field(whole, PROGRAM.memoryLength);
    const header = Buffer.from(whole);
    add(header, PROGRAM.virtual, start);
    add(header, PROGRAM.physical, start);
    header.writeBigUInt64LE(BigInt(end - start), PROGRAM.fileLength);
    header.writeBigUInt64LE(BigInt(next - start), PROGRAM.memoryLength);
    return { header, content: content.subarray(start, end) };
  });
}

function programsOf(kernel: Buffer): Program[] {
  const start = field(kernel, ELF.programs);
  const headers = Array.from({ length: kernel.readUInt16LE(ELF.programCount) }, (_, index) => {
    const at = start + index * PROGRAM_HEADER;
    return kernel.subarray(at, at + PROGRAM_HEADER);
  });
  return headers.flatMap((header) => {
    const type = header.readUInt32LE(0);
    if (type === PT_LOAD) return split(kernel, header);
    // Others tell boot loaders of their own where to begin.
    return type === PT_NOTE
      ? [{ header: Buffer.from(header), content: contentOf(kernel, header) }]
      : [];
  });
}

const pages = (length: number) => Math.ceil(length / PAGE) * PAGE;

/**
 * Makes a kernel that loads as this one does; the same where nothing is gained.
 *
 * @param bytes  An ELF file of 64 bits that is a kernel, was read as one before, and whose segments are apart.
 * @throws {RangeError} It has more pieces, or more memory, than a header can tell.
 */
export function compactKernel(bytes: Uint8Array): Uint8Array {
  const kernel = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const programs = programsOf(kernel);
  const begin = pages(ELF_HEADER + programs.length * PROGRAM_HEADER);
  const length = programs.reduce((sum, { content }) => sum + pages(content.length), begin);
  if (length >= bytes.length) return bytes;
  const compact = Buffer.alloc(length);
  kernel.copy(compact, 0, 0, ELF_HEADER);
  compact.writeBigUInt64LE(BigInt(ELF_HEADER), ELF.programs);
  compact.writeUInt16LE(programs.length, ELF.programCount);
  compact.fill(0, ELF.sections, ELF.sections + 8);
  compact.fill(0, ELF.sectionCount, ELF.names + 2);
  let at = begin;
  programs.forEach(({ header, content }, index) => {
    header.writeBigUInt64LE(BigInt(at), PROGRAM.offset);
    header.copy(compact, ELF_HEADER + index * PROGRAM_HEADER);
    content.copy(compact, at);
    at += pages(content.length);
  });
  return compact;
}
