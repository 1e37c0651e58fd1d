// Calls everything that the addon exports with whatever JavaScript has. Whoever starts it looks at how it
// ends: an exception is an answer, a signal or a sanitizer's report is not.
//
//   fuzz.program.js SEED CALLS WORKERS
//
// It makes interfaces and changes links: it must run in a network namespace of its own.
import { randomFill } from 'node:crypto';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { anyValue } from './any-value.js';
import { Random } from '../../support/random.js';
import { native } from '#lib/native';
import type { NativeDescriptor, NativePages } from '#lib/native';

type AnyFunction = (...args: unknown[]) => unknown;
type AnyConstructor = new (...args: unknown[]) => object;

/** Opening them harms nobody, nor does writing eight bytes to them. */
const PATHS = [
  '/dev/null',
  '/dev/zero',
  '/dev/full',
  '/dev/vhost-net',
  '/dev/vhost-net',
  '/dev/net/tun',
  '/proc/self/ns/net',
  '/proc/self/ns/uts',
  '/no/such/path',
  '/',
];

/**
 * What a call would look like that gets past the checks of its arguments; `d` is a live descriptor, `v` one
 * of vhost, `n` a small number, `a` an address or a length, `s` a name, `p` a path, `b` a boolean, `f` a
 * function, `u` bytes, `w` 16-bit words, perhaps of pages, `r` rows of a memory table, `t` a short time, `?` any of these or nothing. A new export gets `d???`.
 */
const SHAPES: Record<string, readonly string[]> = {
  configure: ['f'],
  constants: [''],
  Descriptor: ['?'],
  descriptorOpen: ['pb'],
  descriptorDuplicate: ['n'],
  Pages: ['nbb', 'nd'],
  pagesCount: [''],
  pagesReserved: [''],
  eventfdCreate: [''],
  eventfdSignal: ['d'],
  eventfdDrain: ['d'],
  eventfdWait: ['td', 'tdddd'],
  Watcher: ['df'],
  Sentry: ['wnwnnntf', 'wnwnnntfd'],
  vhostOpen: ['p'],
  vhostSetOwner: ['v'],
  vhostResetOwner: ['v'],
  vhostSetForkFromOwner: ['vn'],
  vhostGetForkFromOwner: ['v'],
  vhostGetFeatures: ['v'],
  vhostSetFeatures: ['va'],
  vhostGetFeaturesArray: ['v'],
  vhostSetFeaturesArray: ['va'],
  vhostGetBackendFeatures: ['v'],
  vhostSetBackendFeatures: ['va'],
  vhostSetMemTable: ['vr'],
  vhostSetLogBase: ['vaa', 'vAa'],
  vhostSetLogFd: ['vd', 'v'],
  vhostSetVringNum: ['vnn'],
  vhostSetVringBase: ['vnn'],
  vhostGetVringBase: ['vn'],
  vhostSetVringEndian: ['vnn'],
  vhostGetVringEndian: ['vn'],
  vhostSetVringBusyloopTimeout: ['vnn'],
  vhostGetVringBusyloopTimeout: ['vn'],
  vhostSetVringAddr: ['vnnaaaa', 'vnnAAAz'],
  vhostSetVringKick: ['vnd', 'vn'],
  vhostSetVringCall: ['vnd', 'vn'],
  vhostSetVringErr: ['vnd', 'vn'],
  vhostNetSetBackend: ['vnd', 'vn'],
  workerGetAffinity: ['v'],
  workerSetAffinity: ['v?'],
  workerGetScheduling: ['v'],
  workerSetScheduling: ['vnnn'],
  tunOpen: ['', 'd'],
  tunSetIff: ['dsi'],
  netlinkOpen: ['', 'd'],
  linkGet: ['dn', 'ds'],
  linkSet: ['dn???', 'dnbnu'],
  addressAdd: ['dnun'],
};

const MOST_KEPT = 150;

class Fuzzer {
  /** How often a call was refused, and how often it was not: both should be many. */
  threw = 0;
  returned = 0;

  readonly #random: Random;
  readonly #exports = Object.entries(native as unknown as Record<string, unknown>).filter(
    (entry): entry is [string, AnyFunction] => typeof entry[1] === 'function',
  );
  readonly #called = new Set<string>();
  /** Objects of the addon, open and closed. */
  readonly #objects: object[] = [];
  /** Those of them that vhostOpen() made. */
  readonly #vhosts = new WeakSet();

  constructor(seed: number) {
    this.#random = new Random(seed);
    const unknown = Object.keys(SHAPES).filter((name) => !Object.hasOwn(native, name));
    if (unknown.length > 0) throw new Error(`no export ${unknown.join()}`);
  }

  /** What the addon exports and no call reached. */
  get missed(): string[] {
    return this.#exports.map(([name]) => name).filter((name) => !this.#called.has(name));
  }

  async run(calls: number): Promise<void> {
    for (let call = 1; call <= calls; call++) {
      this.#attempt();
      // Watchers, finalizers and what callbacks threw have their turn as well.
      if (call % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
      if (call % 500 === 0) this.#lend();
      if (call % 1000 === 0) global.gc?.();
    }
  }

  /** To another thread, which writes there while the calls go on: they may close the pages. */
  #lend(): void {
    for (const { buffer } of this.#pages().slice(0, 1)) {
      if (buffer) randomFill(new Uint8Array(buffer).subarray(0, 1 << 20), () => undefined);
    }
  }

  /** An exception is as good an answer as any. */
  #attempt(): void {
    try {
      this.#keep(this.#random.chance(0.25) ? this.#useMember() : this.#callExport());
      this.returned++;
    } catch {
      this.threw++;
    }
  }

  #callExport(): unknown {
    const [name, target] = this.#random.pick(this.#exports);
    this.#called.add(name);
    const args = this.#guard(name, this.#arguments(name));
    if (name === 'vhostOpen') return this.#openVhost(target, args);
    if (!/^[A-Z]/.test(name)) return Reflect.apply(target, this.#receiver(), args);
    if (this.#random.chance(0.1)) return Reflect.apply(target, this.#receiver(), args);
    const newTarget = this.#random.chance(0.1) ? this.#random.pick(this.#exports)[1] : target;
    return Reflect.construct(target as unknown as AnyConstructor, args, newTarget) as unknown;
  }

  #openVhost(target: AnyFunction, args: unknown[]): unknown {
    const opened = Reflect.apply(target, this.#receiver(), args);
    this.#vhosts.add(opened as object);
    return opened;
  }

  /** A method or accessor, mostly of the object it belongs to. */
  #useMember(): unknown {
    const owner = this.#object();
    const prototype: unknown = Object.getPrototypeOf(owner);
    if (typeof prototype !== 'object' || prototype === null) return undefined;
    const members = Object.entries(Object.getOwnPropertyDescriptors(prototype)).filter(
      // The pool is to live for a while.
      ([name]) => name !== 'close' || this.#random.chance(0.2),
    );
    if (members.length === 0) return undefined;
    const [, { value, get, set }] = this.#random.pick(members);
    const member: unknown = value ?? get ?? set;
    if (typeof member !== 'function' || !String(member).includes('native code')) return undefined;
    const receiver = this.#random.chance(0.2) ? this.#receiver() : owner;
    return Reflect.apply(member as AnyFunction, receiver, [this.#value()]);
  }

  /** Anything at all, or an object of the addon, or one that only looks like it. */
  #receiver(): unknown {
    if (this.#random.chance(0.4)) return anyValue(this.#random);
    if (this.#random.chance(0.2)) return Object.create(this.#object()) as unknown;
    return this.#object();
  }

  #object(): object {
    return this.#objects.length > 0 ? this.#random.pick(this.#objects) : {};
  }

  #arguments(name: string): unknown[] {
    const shape = this.#random.pick(SHAPES[name] ?? ['d???']);
    const args = Array.from(shape).map((letter) =>
      this.#random.chance(0.1) ? this.#value() : this.#plausible(letter),
    );
    if (this.#random.chance(0.05)) args.pop();
    if (this.#random.chance(0.05)) args.push(this.#value());
    return args;
  }

  #value(): unknown {
    return this.#random.chance(0.3) ? this.#receiver() : anyValue(this.#random);
  }

  #plausible(letter: string): unknown {
    const random = this.#random;
    switch (letter) {
      case 'd':
        return random.pick([...this.#objects.filter((object) => 'fd' in object), undefined]);
      case 'v':
        return random.pick([
          ...this.#objects.filter((object) => this.#vhosts.has(object)),
          undefined,
        ]);
      case 'n':
        return random.pick([0, 1, 1, 2, 4, 8, 24, 64, 256, 1500, 4096, 65536, 2 ** 32]);
      case 'i':
        return random.pick([0x5002, 0x1002, 0x5102, 0x5001, 0x0002]); // IFF_TAP and its like
      case 'a':
        return random.pick([0n, 0xfffn, 1n << 33n, 0x33d008000n, this.#address()]);
      case 'A':
        return this.#address();
      case 't':
        return random.pick([0, 1]);
      case 'z':
        return 0n;
      case 's':
        return random.pick(['lo', 'fz%d', 'fz0', 'fz1', '']);
      case 'p':
        return random.pick(PATHS);
      case 'b':
        return random.chance(0.5);
      case 'f':
        return this.#callback();
      case 'u':
        return new Uint8Array(random.pick([4, 6, 16])).fill(random.below(256));
      case 'w': {
        const buffers = this.#pages().map(({ buffer }) => buffer);
        return new Uint16Array(random.pick([...buffers, undefined]) ?? new ArrayBuffer(8), 0, 4);
      }
      case 'r':
        return Array.from({ length: random.below(4) }, () => [0n, 4096n, this.#address()]);
      default:
        return this.#plausible(random.pick(Array.from('dnabsfu')));
    }
  }

  /** Of pages, mostly. */
  #address(): bigint {
    const pages = this.#pages();
    if (pages.length === 0) return 0n;
    return this.#random.pick(pages).address + BigInt(this.#random.pick([0, 0, 16, 4096, 1 << 16]));
  }

  #pages(): NativePages[] {
    return this.#objects.filter((object) => object instanceof native.Pages);
  }

  /** Does what it is not expected to: closes what is in use, throws, answers nonsense. */
  #callback(): AnyFunction {
    const victim = this.#object() as { close?: () => void };
    return this.#random.pick<AnyFunction>([
      () => this.#value(),
      () => victim.close?.(),
      () => {
        throw new Error('a callback');
      },
      () => new Error('as it should'),
    ]);
  }

  /** The process has descriptors of its own, and a path may be a file of somebody's: none of these. */
  #guard(name: string, args: unknown[]): unknown[] {
    if (name === 'descriptorDuplicate' && typeof args[0] === 'number' && args[0] >= 0) {
      const own = this.#objects.filter((object): object is NativeDescriptor => 'fd' in object);
      args[0] = own.length > 0 ? this.#random.pick(own).fd : -1;
    }
    if (name.endsWith('Open') && typeof args[0] === 'string' && !PATHS.includes(args[0])) {
      args[0] = args[0].length > 4096 ? args[0] : `/no/such/path/${args[0]}`;
    }
    return args;
  }

  /** Of what came back, keeps objects of the addon, closed ones too. */
  #keep(value: unknown): void {
    const classes = this.#exports.filter(([name]) => /^[A-Z]/.test(name)).map(([, one]) => one);
    if (!classes.some((one) => value instanceof one)) return;
    const object = value as { close: () => void };
    if (this.#objects.length < MOST_KEPT) this.#objects.push(object);
    else this.#replace(this.#random.below(MOST_KEPT), object);
  }

  #replace(index: number, object: object): void {
    const old = this.#objects[index] as { close: () => void };
    this.#objects[index] = object;
    // Half of them are left to the garbage collector.
    if (this.#random.chance(0.5)) Reflect.apply(old.close, old, []);
  }
}

/** Some end by themselves, every third is cut off in the middle. */
async function runWorkers(seed: number, calls: number, workers: number): Promise<void> {
  const ends = Array.from({ length: workers }, (_, index) => {
    const worker = new Worker(__filename, { workerData: { seed: seed + 1 + index, calls } });
    if (index % 3 === 2) worker.on('message', () => void worker.terminate());
    return new Promise((resolve) => worker.on('exit', resolve));
  });
  await Promise.all(ends);
}

async function main(): Promise<void> {
  // Callbacks throw, promises of nobody are rejected: all of that is JavaScript as usual.
  process.on('uncaughtException', () => {});
  const [seed = 1, calls = 1000, workers = 0] = process.argv.slice(2).map(Number);
  if (isMainThread) {
    await runWorkers(seed, Math.ceil(calls / (workers + 1)), workers);
    const fuzzer = new Fuzzer(seed);
    await fuzzer.run(Math.ceil(calls / (workers + 1)));
    console.log(
      `survived: ${String(fuzzer.returned)} calls returned, ${String(fuzzer.threw)} threw`,
    );
    console.log(`never called: ${fuzzer.missed.join() || 'none'}`);
    process.exit(0);
  }
  const task = workerData as { seed: number; calls: number };
  const fuzzer = new Fuzzer(task.seed);
  await fuzzer.run(Math.ceil(task.calls / 2));
  parentPort?.postMessage('half');
  await fuzzer.run(Math.floor(task.calls / 2));
  process.exit(0);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
