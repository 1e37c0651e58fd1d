/** Experimental EtherType: nobody but the tests answers to it. IEEE 802, "Local Experimental". */
export const PATTERN_TYPE = 0x88b5;

const COUNT = 251;
const SEQUENCE_AT = 14;
const PATTERN_AT = 18;

/** Deterministic pseudo-random numbers, so that a failure can be repeated. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
}

/**
 * Frames of 60 to 1514 bytes with a sequence number and bytes that are told by it: whatever is lost,
 * doubled, reordered or altered shows.
 */
export class PatternFrames {
  readonly #templates: Buffer[];

  constructor(destination: readonly number[], source: readonly number[]) {
    const next = random(42);
    this.#templates = Array.from({ length: COUNT }, (_, i) => {
      const length = i === 0 ? 60 : i === 1 ? 1514 : 60 + (next() % 1455);
      const frame = Buffer.alloc(length);
      frame.set([...destination, ...source]);
      frame.writeUInt16BE(PATTERN_TYPE, 12);
      for (let at = PATTERN_AT; at < length; at++) frame[at] = next() >>> 24;
      return frame;
    });
  }

  /** Frame number `sequence`; valid until the next call for the same template. */
  make(sequence: number): Buffer {
    const frame = this.#templates[sequence % COUNT] ?? Buffer.alloc(0);
    frame.writeUInt32BE(sequence, SEQUENCE_AT);
    return frame;
  }

  /** The sequence number of a received frame; -1 when it is altered. */
  check(bytes: Uint8Array): number {
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (view.length < PATTERN_AT) return -1;
    const sequence = view.readUInt32BE(SEQUENCE_AT);
    return this.make(sequence).equals(view) ? sequence : -1;
  }

  /** Whether a frame is one of a pattern at all. */
  static is(bytes: Uint8Array): boolean {
    return bytes.length >= 14 && ((bytes[12] ?? 0) << 8) + (bytes[13] ?? 0) === PATTERN_TYPE;
  }
}
