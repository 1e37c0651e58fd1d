/** Kernel files that hold nothing but what a boot loader looks at. */

/** Fields of a setup header that a test wants otherwise. */
export interface BzImageFields {
  readonly bootFlag?: number;
  readonly magic?: number;
  readonly version?: number;
  readonly xloadflags?: number;
  readonly initrdMost?: number;
  readonly commandLineMost?: number;
  readonly preferred?: bigint;
  readonly initLength?: number;
  readonly payload?: Uint8Array;
}

const SETUP_SECTORS = 3;
const PROTECTED = (SETUP_SECTORS + 1) * 512;
const PAYLOAD_AT = 0x400;

/** A bzImage of boot protocol 2.15. */
export function bzImage(fields: BzImageFields = {}): Uint8Array {
  const payload = fields.payload ?? Buffer.from('nothing that anybody unpacks');
  const file = new Uint8Array(PROTECTED + PAYLOAD_AT + payload.length);
  const view = new DataView(file.buffer);
  view.setUint8(0x1f1, SETUP_SECTORS);
  view.setUint16(0x1fe, fields.bootFlag ?? 0xaa55, true);
  view.setUint8(0x201, 0x6a);
  view.setUint32(0x202, fields.magic ?? 0x53726448, true);
  view.setUint16(0x206, fields.version ?? 0x020f, true);
  view.setUint8(0x211, 1);
  view.setUint32(0x22c, fields.initrdMost ?? 0x7fffffff, true);
  view.setUint16(0x236, fields.xloadflags ?? 0x7f, true);
  view.setUint32(0x238, fields.commandLineMost ?? 2047, true);
  view.setUint32(0x248, PAYLOAD_AT, true);
  view.setUint32(0x24c, payload.length, true);
  view.setBigUint64(0x258, fields.preferred ?? 0x1000000n, true);
  view.setUint32(0x260, fields.initLength ?? 0x300000, true);
  file.fill(0xc3, PROTECTED, PROTECTED + PAYLOAD_AT);
  file.set(payload, PROTECTED + PAYLOAD_AT);
  return file;
}

/** One part of an ELF file. */
export interface ElfSegment {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly memoryLength: number;
}

/** An ELF of x86-64 with segments to load, and one of another type that is not. */
export function elf(entry: number, segments: readonly ElfSegment[], machine = 62): Uint8Array {
  const count = segments.length + 1;
  const head = 64 + 56 * count;
  const file = new Uint8Array(head + segments.reduce((sum, { bytes }) => sum + bytes.length, 0));
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, machine, true);
  view.setBigUint64(24, BigInt(entry), true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(56, count, true);
  view.setUint32(64 + 56 * segments.length, 4, true); // PT_NOTE
  let at = head;
  segments.forEach(({ address, bytes, memoryLength }, index) => {
    const row = 64 + 56 * index;
    view.setUint32(row, 1, true);
    [at, 0, address, bytes.length, memoryLength].forEach((value, field) => {
      view.setBigUint64(row + 8 + 8 * field, BigInt(value), true);
    });
    file.set(bytes, at);
    at += bytes.length;
  });
  return file;
}
