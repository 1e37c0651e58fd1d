/** The 16 bits in network order at `at`; what lies behind the end counts as 0. */
export function readWord(bytes: Readonly<Uint8Array>, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

/** Writes 16 bits in network order; further bits of the value are dropped. */
export function writeWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** The 32 bits in network order at `at`. */
export function readLong(bytes: Readonly<Uint8Array>, at: number): number {
  return ((readWord(bytes, at) << 16) | readWord(bytes, at + 2)) >>> 0;
}

/** Writes 32 bits in network order; further bits of the value are dropped. */
export function writeLong(bytes: Uint8Array, at: number, value: number): void {
  writeWord(bytes, at, value >>> 16);
  writeWord(bytes, at + 2, value);
}
