/**
 * As much of ACPI's machine language as the description of a few fixed devices needs. ACPI 6.5 §20
 * "ACPI Machine Language (AML) Specification", §6.4 "Resource Data Types for ACPI".
 */

const ZERO = 0x00;
const NAME = 0x08;
const BYTE = 0x0a;
const WORD = 0x0b;
const DWORD = 0x0c;
const SCOPE = 0x10;
const BUFFER = 0x11;
const PACKAGE = 0x12;
const DEVICE = [0x5b, 0x82] as const;

/** Small resources carry their length in their first byte. */
const IO = 0x47;
const END_TAG = [0x79, 0] as const;
const DWORD_ADDRESS_SPACE = 0x87;
const WORD_ADDRESS_SPACE = 0x88;
const EXTENDED_INTERRUPT = 0x89;

const SPACE = { memory: 0, io: 1, bus: 2 } as const;
/** Produced for what is behind a bridge; both ends of the range are fixed. */
const FIXED_RANGE = 0x0c;
/** Of memory: it can be written, and is not cached. */
const READ_WRITE = 0x01;
/** Of ports: all of the range. */
const ENTIRE_RANGE = 0x03;
const DECODE_16_BITS = 0x01;
/** Consumed here; edge-triggered, active high, not shared. */
const EDGE_HIGH_EXCLUSIVE = 0x03;

/** A piece of machine language. */
export type Aml = readonly number[];

/** The lowest bytes of a number, the lowest first. */
export function littleEndian(value: number, length: number): number[] {
  return Array.from({ length }, (_, byte) => Math.floor(value / 2 ** (8 * byte)) & 0xff);
}

function segment(name: string): number[] {
  return [...Buffer.from(name.padEnd(4, '_'), 'latin1')];
}

/** A length that counts its own bytes as well; lengths here fit into two. */
function withLength(content: Aml): number[] {
  const short = content.length + 1;
  if (short < 0x40) return [short, ...content];
  const long = content.length + 2;
  return [0x40 | (long & 0xf), long >> 4, ...content];
}

/** An integer, as short as it can be. */
export function integer(value: number): number[] {
  if (value === 0) return [ZERO];
  if (value <= 0xff) return [BYTE, value];
  if (value <= 0xffff) return [WORD, ...littleEndian(value, 2)];
  return [DWORD, ...littleEndian(value, 4)];
}

/** `EISAID()`: three letters of five bits and four digits, the highest byte first. */
export function eisaId(id: string): number[] {
  const letters = [0, 1, 2].map((at) => id.charCodeAt(at) - 0x40);
  const [first = 0, second = 0, third = 0] = letters;
  const vendor = (first << 10) | (second << 5) | third;
  const product = Number.parseInt(id.slice(3), 16);
  return [DWORD, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff];
}

/** `Name (name, value)`. */
export function name(label: string, value: Aml): number[] {
  return [NAME, ...segment(label), ...value];
}

/** `Scope (\label) { … }`. */
export function scope(label: string, ...content: readonly Aml[]): number[] {
  return [SCOPE, ...withLength([0x5c, ...segment(label), ...content.flat()])];
}

/** `Device (label) { … }`. */
export function device(label: string, ...content: readonly Aml[]): number[] {
  return [...DEVICE, ...withLength([...segment(label), ...content.flat()])];
}

/** `Package () { … }`. */
export function packageOf(...elements: readonly Aml[]): number[] {
  return [PACKAGE, ...withLength([elements.length, ...elements.flat()])];
}

/** `ResourceTemplate () { … }`. */
export function resources(...list: readonly Aml[]): number[] {
  const bytes = [...list.flat(), ...END_TAG];
  return [BUFFER, ...withLength([...integer(bytes.length), ...bytes])];
}

/** `IO (Decode16, first, first, 1, count)`: ports of the device itself. */
export function ports(first: number, count: number): number[] {
  return [IO, DECODE_16_BITS, ...littleEndian(first, 2), ...littleEndian(first, 2), 1, count];
}

/** `Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { gsi }`. */
export function interrupt(gsi: number): number[] {
  return [EXTENDED_INTERRUPT, 6, 0, EDGE_HIGH_EXCLUSIVE, 1, ...littleEndian(gsi, 4)];
}

function wordRange(space: number, flags: number, first: number, last: number): number[] {
  const numbers = [0, first, last, 0, last - first + 1].flatMap((one) => littleEndian(one, 2));
  return [WORD_ADDRESS_SPACE, 13, 0, space, FIXED_RANGE, flags, ...numbers];
}

/** `WordBusNumber`: the buses behind a host bridge. */
export function buses(first: number, last: number): number[] {
  return wordRange(SPACE.bus, 0, first, last);
}

/** `WordIO`: the ports behind a host bridge. */
export function portWindow(first: number, last: number): number[] {
  return wordRange(SPACE.io, ENTIRE_RANGE, first, last);
}

/** `DWordMemory`: the addresses behind a host bridge. */
export function memoryWindow(first: number, length: number): number[] {
  const numbers = [0, first, first + length - 1, 0, length].flatMap((one) => littleEndian(one, 4));
  return [DWORD_ADDRESS_SPACE, 23, 0, SPACE.memory, FIXED_RANGE, READ_WRITE, ...numbers];
}
