import type { Random } from './random.js';

/** Where memory is: an offset in the program's own, or one in the kernel's half of the addresses. */
export type Place = `m${string}` | `k${string}`;

/** Bytes of memory that a program that runs sequences has. */
export const MEMORY_BYTES = 16 << 20;

/** Offset of the log, and how long it is: it covers 2 GiB of guest addresses. */
const LOG_AT = 12 << 20;
export const LOG_BYTES = 64 << 10;
const LOG: Place = `m${String(LOG_AT)}`;

const FILES = ['none', 'event', 'null', 'tun', 'tap'] as const;

/** What a program is to open for a sequence, besides vhost: one of each. */
export type FileName = (typeof FILES)[number];

/** Bits that some vhost-net has, of which one decides whose addresses are meant, and some it has not. */
const FEATURES = [15, 24, 27, 28, 29, 32, 33, 35, 40, 0, 34, 63];
/** Rarely: with them nearly everything else ends in the same way. */
const RARE = new Set([33, 0, 34, 63]);

const hex = (number: bigint) => number.toString(16);

/**
 * Random ioctls, legal and illegal, one a line; `#` opens the device anew. What this package refuses
 * before the kernel sees it is not among them: addresses outside its pages, and logs that do not cover
 * what is logged.
 */
export class IoctlSequences {
  readonly #random: Random;
  // What the device of the sequence would let one do.
  #owned = false;
  #logged = false;
  #logging = false;
  #placed: boolean[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  /** The text of so many sequences. */
  text(count: number): string {
    return Array.from({ length: count }, () => this.#sequence().join('\n')).join('\n') + '\n';
  }

  #sequence(): string[] {
    this.#forget();
    const length = 4 + this.#random.below(16);
    return ['#', ...this.#beginning(), ...Array.from({ length }, () => this.#one())];
  }

  /** Most have an owner from the start and many a ring that runs, or there would be little but EPERM. */
  #beginning(): string[] {
    const random = this.#random;
    if (random.chance(0.2)) return [];
    const owner = this.#owner();
    if (random.chance(0.4)) return [owner];
    const memory = 'memory 1 0 400000 m0';
    return [
      owner,
      memory,
      ...[0, 1].flatMap((index) => (random.chance(0.3) ? [] : this.#ring(index))),
    ];
  }

  /** A ring as a driver would start it. */
  #ring(index: number): string[] {
    this.#placed[index] = true;
    const places = [0, 2, 1].map((megabyte) => `m${String((index * 4 + megabyte) << 20)}`);
    const name = String(index);
    return [
      `num ${name} 256`,
      `address ${name} ${places.join(' ')} 0 0`,
      `call ${name} event`,
      `kick ${name} event`,
      `backend ${name} tap`,
    ];
  }

  #forget(): void {
    this.#owned = this.#logged = this.#logging = false;
    this.#placed = [false, false];
  }

  #one(): string {
    return this.#random.pick(this.#choices)();
  }

  /** Those that lead to more than a number being kept are there more often. */
  readonly #choices: readonly (() => string)[] = [
    () => this.#owner(),
    () => this.#reset(),
    () => 'getfeatures',
    () => this.#setFeatures(),
    () => this.#setFeatures(),
    () => 'getarray',
    () => this.#setArray(),
    () => 'getbackendfeatures',
    () => `setbackendfeatures ${this.#random.pick(['0', '2', '2', '1', 'ffffffffffffffff'])}`,
    () => 'getfork',
    () => `setfork ${String(this.#random.below(2))}`,
    () => this.#memoryTable(),
    () => this.#memoryTable(),
    () => this.#logBase(),
    () => `logfd ${this.#file()}`,
    () => `num ${this.#index()} ${this.#number()}`,
    () => `num ${this.#index()} ${this.#number()}`,
    () => `setbase ${this.#index()} ${this.#number()}`,
    () => `getbase ${this.#index()}`,
    () => this.#address(),
    () => this.#address(),
    () => `kick ${this.#index()} ${this.#file()}`,
    () => `call ${this.#index()} ${this.#file()}`,
    () => `err ${this.#index()} ${this.#file()}`,
    () => `setendian ${this.#index()} ${String(this.#random.below(2))}`,
    () => `getendian ${this.#index()}`,
    // On Linux 7 whoever changes the rings of a worker that polls waits for as long as it was told to.
    () => `setbusy ${this.#index()} ${String(this.#random.pick([0, 1, 50, 1000]))}`,
    () => `getbusy ${this.#index()}`,
    () => this.#backend(),
    () => this.#backend(),
    () => this.#backend(),
  ];

  #owner(): string {
    this.#owned = true;
    return 'owner';
  }

  #reset(): string {
    this.#forget();
    return 'reset';
  }

  #index(): string {
    return String(this.#random.pick([0, 0, 0, 1, 1, 1, 2, 2 ** 32 - 1]));
  }

  #number(): string {
    const numbers = [0, 1, 2, 3, 4, 255, 256, 1024, 32768, 65535, 65536, 2 ** 32 - 1];
    return String(this.#random.pick(numbers));
  }

  #file(): FileName {
    return this.#random.pick(['event', ...FILES]);
  }

  #features(): bigint {
    const some = FEATURES.filter((bit) => this.#random.chance(RARE.has(bit) ? 0.05 : 0.4));
    const all = some.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
    if (!this.#logged || this.#random.chance(0.5)) return all;
    this.#logging = true;
    return all | (1n << 26n);
  }

  #setFeatures(): string {
    return `setfeatures ${hex(this.#features())}`;
  }

  #setArray(): string {
    const high = this.#random.pick([0n, 0n, 2n, 8n, 10n, 4n, 1n << 63n]);
    return `setarray ${hex(this.#features())} ${hex(high)}`;
  }

  #memoryTable(): string {
    const count = this.#random.pick([0, 1, 1, 2, 3, 64, 65]);
    const rows = Array.from({ length: count }, () => this.#row());
    return [`memory ${String(count)}`, ...rows].join(' ');
  }

  /** Guest address, length, place. */
  #row(): string {
    const random = this.#random;
    const offset = random.pick([0, 4096, 1 << 20, 1]);
    const place: Place = random.chance(0.03) ? 'k0' : `m${String(offset)}`;
    // One that wraps; while everything is logged this package knows that no log covers it.
    if (!this.#logging && random.chance(0.05)) return `fffffffffffff000 2000 ${place}`;
    const address = random.pick([0, 4096, 1 << 20, 1 << 24, 1 << 30, 3]);
    return (
      [address, random.pick([1, 4096, 1 << 20, 4 << 20])].map((n) => n.toString(16)).join(' ') +
      ` ${place}`
    );
  }

  #logBase(): string {
    if (this.#logging || this.#random.chance(0.8)) {
      this.#logged = this.#owned;
      return `logbase ${LOG}`;
    }
    this.#logged = false;
    return 'logbase k0';
  }

  /** Parts with room for the largest ring there is, mostly aligned. */
  #address(): string {
    const random = this.#random;
    const index = Number(this.#index());
    const ring = index === 1 ? 4 << 20 : 0;
    const part = (megabyte: number): [Place, number] => {
      const aside = random.chance(0.1) ? random.below(4) : 0;
      return [`m${String(ring + (megabyte << 20) + aside)}`, aside];
    };
    const [desc] = part(0);
    const [avail, availAside] = part(1);
    const [used, usedAside] = part(2);
    const log = this.#logged && random.chance(0.3);
    const far = random.chance(0.05);
    if (log) this.#logging = true;
    const aligned = availAside % 2 === 0 && usedAside % 4 === 0;
    if (this.#owned && index < 2 && aligned) this.#placed[index] = true;
    const flags = log ? `1 ${hex(BigInt(random.pick([0, 4096, 4])))}` : '0 0';
    return `address ${String(index)} ${far ? 'k0' : desc} ${used} ${avail} ${flags}`;
  }

  /** A ring is started where the package knows where it lies. */
  #backend(): string {
    const index = this.#index();
    const file =
      this.#placed[Number(index)] === false ? 'none' : this.#random.pick(['tap', 'tap', ...FILES]);
    return `backend ${index} ${file}`;
  }
}
