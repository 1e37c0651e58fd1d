import type { Random } from '../../support/random.js';

/** Throws at whatever is done with it, as late as the language allows. */
function hostile(): unknown {
  const fail = () => {
    throw new Error('a trap');
  };
  const traps = ['get', 'set', 'has', 'ownKeys', 'getPrototypeOf', 'getOwnPropertyDescriptor'];
  return new Proxy([], Object.fromEntries(traps.map((trap) => [trap, fail])));
}

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable([], {});
  revoke();
  return proxy;
}

function detached(): Uint8Array {
  const bytes = new Uint8Array(6);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

/** A real array whose elements run code, and fail. */
function trapped(): unknown[] {
  const array: unknown[] = [];
  Object.defineProperty(array, 0, {
    get: () => {
      throw new Error('an element');
    },
  });
  return array;
}

function long(): unknown[] {
  const array: unknown[] = [];
  array.length = 2 ** 32 - 1;
  return array;
}

const NUMBERS = [
  0,
  -0,
  1,
  -1,
  2,
  3,
  0.5,
  10,
  255,
  256,
  32768,
  65535,
  65536,
  2 ** 31 - 1,
  2 ** 31,
  -(2 ** 31),
  2 ** 32 - 1,
  2 ** 32,
  Number.MAX_SAFE_INTEGER,
  2 ** 63,
  -(2 ** 63),
  1e300,
  NaN,
  Infinity,
  -Infinity,
];

const BIGINTS = [0n, 1n, -1n, 4096n, 2n ** 47n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n, 2n ** 4096n];

const STRINGS = [
  '',
  'lo',
  'a\0b',
  '\ud800',
  '\u{1f600}',
  'fz%d',
  'x'.repeat(16),
  'x'.repeat(1 << 20),
];

/** One of everything that JavaScript has, and of each the awkward ones. */
const MAKERS: ((random: Random) => unknown)[] = [
  () => undefined,
  () => null,
  (random) => random.chance(0.5),
  (random) => random.pick(NUMBERS),
  (random) => random.pick(BIGINTS),
  (random) => random.pick(STRINGS),
  () => Symbol('any'),
  () => () => {
    throw new Error('a callback');
  },
  () => function any() {},
  () => class Any {},
  () => async () => {},
  () => [],
  () => [1, 'two', 3n, {}],
  () => [[0n, 4096n, 0n]],
  () => [[0n, 4096n, 2n ** 63n]],
  trapped,
  long,
  hostile,
  revoked,
  detached,
  () => ({}),
  () => Object.create(null) as unknown,
  () => ({ valueOf: () => 1, toString: () => 'lo', fd: 1, buffer: new ArrayBuffer(8) }),
  (random) => new Uint8Array(random.pick([0, 1, 4, 6, 16, 4096])),
  () => new Uint8Array(new SharedArrayBuffer(6)),
  // Resizable: not in the types of ES2022.
  () => new Uint8Array(Reflect.construct(ArrayBuffer, [6, { maxByteLength: 64 }]) as ArrayBuffer),
  () => new Float64Array(2),
  () => new BigUint64Array(2),
  () => new DataView(new ArrayBuffer(16)),
  () => new ArrayBuffer(6),
  () => new SharedArrayBuffer(6),
  () => Buffer.from('bytes'),
  () => new Date(NaN),
  () => /any/,
  () => new Map(),
  () => new WeakMap(),
  () => Promise.resolve(1),
  () => new Error('any'),
  () => globalThis,
  () => Object(1) as unknown,
  () => Object(1n) as unknown,
];

/** Any JavaScript value. */
export function anyValue(random: Random): unknown {
  return random.pick(MAKERS)(random);
}
