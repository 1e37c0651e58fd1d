import type { Random } from './random.js';

/** One access of a guest's. `ram` is its own memory, which it writes a double word at a time. */
export interface Access {
  readonly writes: boolean;
  readonly space: 'port' | 'memory' | 'ram';
  readonly at: number;
  /** Bytes: 1, 2 or 4. */
  readonly size: number;
  /** Of a write; else 0. */
  readonly value: number;
}

const SIZES = [1, 2, 4];
/** Mostly what a device might take to mean something. */
const VALUES = [
  ...[0, 1, 2, 3, 4, 7, 8, 0xb, 0xf, 0x10, 0x40, 0x80, 0xff, 0x100, 0x406, 0x8000, 0xc000, 0xffff],
  ...[0x10000, 0x11000, 0x12000, 0x11002, 0xfffff, 0xfff00, 0xfffe0, 0x100000, 0xbad],
  ...[0xd0000000, 0xe0000000, 0xe0008000, 0xfee00000, 0xffff8000, 0xffffffff],
];
const PORTS = [0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x64, 0x70, 0x71, 0xf4];
const AREAS = [0x1000, 0x2000, 0x3000, 0x5000, 0x7ff0, -8];

/** Where the capability of the window begins. */
const WINDOW = 0x90;

function store(space: Access['space'], at: number, size: number, value: number): Access {
  return {
    writes: true,
    space,
    at,
    size,
    value: (value & (size === 4 ? -1 : 2 ** (8 * size) - 1)) >>> 0,
  };
}

/** Accesses at random of all that a guest reaches. */
export class HostileAccesses {
  readonly #random: Random;
  readonly #hole: number;
  /** What is left of something that takes several accesses. */
  readonly #phrase: Access[] = [];

  /** @param hole  Where the first device is; the second is 32 KiB behind it. */
  constructor(random: Random, hole: number) {
    this.#random = random;
    this.#hole = hole;
  }

  next(): Access {
    const random = this.#random;
    if (random.chance(0.005)) this.#phrase.push(...random.pick([this.#rings, this.#window])());
    return (random.chance(0.8) ? this.#phrase.shift() : undefined) ?? this.#any();
  }

  #any(): Access {
    const random = this.#random;
    const size = random.pick(SIZES);
    const drawn = this.#value();
    const kind = random.next();
    const space = kind < 0.22 ? 'port' : kind < 0.9 ? 'memory' : 'ram';
    const writes = space === 'ram' || random.chance(0.6);
    return { writes, space, at: this.#place(space), size, value: writes ? drawn : 0 };
  }

  #value(): number {
    return this.#random.chance(0.8) ? this.#random.pick(VALUES) : this.#random.below(2 ** 32);
  }

  #bar(): number {
    return this.#hole + (this.#random.chance(0.2) ? 0x8000 : 0);
  }

  /** A device begun anew, or one queue of it, with a ring anywhere. */
  readonly #rings = (): Access[] => {
    const bar = this.#bar();
    const write = (at: number, size: number, value: number) =>
      store('memory', bar + at, size, value);
    const queue = this.#random.below(3);
    const again = [0, 1, 3].map((status) => write(20, 1, status));
    const agreed = [write(8, 4, 1), write(12, 4, 0x101), write(20, 1, 11)];
    const parts = [32, 40, 48].map((at) => write(at, 4, this.#value()));
    return [
      ...(this.#random.chance(0.5) ? [...again, ...agreed] : []),
      ...[write(22, 2, queue), write(58, 2, 1), write(24, 2, this.#value() & 0xff), ...parts],
      ...[write(28, 2, 1), write(20, 1, 15), write(0x3000 + 4 * queue, 2, queue)],
    ];
  };

  /** An access by the window in configuration space. */
  readonly #window = (): Access[] => {
    const slot = 0x80000800 + (this.#random.chance(0.2) ? 0x800 : 0);
    const write = (at: number, size: number, value: number) => [
      store('port', 0xcf8, 4, slot + at),
      store('port', 0xcfc, size, value),
    ];
    const offset = this.#memory() - this.#hole;
    return [
      ...write(WINDOW + 4, 1, this.#random.below(8) === 0 ? 1 : 0),
      ...write(WINDOW + 8, 4, offset >>> 0),
      ...write(WINDOW + 12, 4, this.#random.pick([1, 2, 4, 3, 8])),
      ...write(WINDOW + 16, this.#random.pick(SIZES), this.#value()),
    ];
  };

  #place(space: Access['space']): number {
    const random = this.#random;
    if (space === 'ram') return random.chance(0.3) ? 0x11000 : this.#ring();
    if (space === 'memory') return this.#memory();
    if (random.chance(0.2)) return random.pick(PORTS);
    return 0xcf8 + (random.chance(0.3) ? 0 : random.below(9));
  }

  /** The beginnings of a descriptor table, an avail ring and a used ring. */
  #ring(): number {
    return this.#random.pick([0x10000, 0x11000, 0x12000]) + this.#random.below(0x60);
  }

  #memory(): number {
    const random = this.#random;
    const bar = this.#bar();
    if (random.chance(0.1)) return bar + 0x3008;
    if (random.chance(0.6)) return bar + random.below(0x40);
    if (random.chance(0.5)) return bar + 0x4000 + random.below(0x48);
    return bar + random.pick(AREAS) + random.below(24);
  }
}

/** An access as a line of a corpus. */
export function formatAccess({ writes, space, at, size, value }: Access): string {
  const hex = (number: number) => `0x${number.toString(16)}`;
  const read = `read ${space} ${hex(at)} ${String(size)}`;
  return writes ? `write ${space} ${hex(at)} ${String(size)} ${hex(value)}` : read;
}

/** Sequences of accesses, each begun by a line with `#`, by what that line says. `//` is a comment. */
export function parseCorpus(text: string): Map<string, Access[]> {
  const sequences = new Map<string, Access[]>();
  let current: Access[] = [];
  for (const line of text.split('\n').filter((one) => /^[^/]/.test(one))) {
    if (line.startsWith('#')) sequences.set(line.slice(1).trim(), (current = []));
    else current.push(parseAccess(line));
  }
  return sequences;
}

function parseAccess(line: string): Access {
  const found = /^(read|write) (port|memory|ram) (0x[0-9a-f]+) ([124])( 0x[0-9a-f]+)?$/.exec(line);
  if (!found) throw new Error(`no access: ${line}`);
  const [, what, space, at, size, value] = found;
  return {
    writes: what === 'write',
    space: space as Access['space'],
    at: Number(at),
    size: Number(size),
    value: value === undefined ? 0 : Number(value.trim()),
  };
}

/** The shortest that is left of a sequence when what is not needed for its failing is left out. */
export function shrink(sequence: readonly Access[], fails: (one: readonly Access[]) => boolean) {
  let kept = [...sequence];
  for (let part = Math.ceil(kept.length / 2); part >= 1; part = Math.floor(part / 2)) {
    for (let at = 0; at < kept.length;) {
      const without = [...kept.slice(0, at), ...kept.slice(at + part)];
      if (fails(without)) kept = without;
      else at += part;
    }
  }
  return kept;
}
