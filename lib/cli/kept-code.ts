/**
 * Compiled code that is kept between runs of a command: most of what its start takes Node is to compile what it
 * compiled the last time.
 *
 * V8 looks at the length of the source and at some of its own version, and believes the rest. So the code is kept with
 * the very source that it was made of, and with a sum, for what is damaged can end the process; and it is only believed
 * where nobody but this user could have written it.
 */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { constants, Script } from 'node:vm';
import zlib from 'node:zlib';

/** One file's source and what V8 made of it, both as bytes. */
interface Kept {
  readonly source: Buffer;
  readonly code: Buffer;
}

interface Loaded {
  readonly source: Buffer;
  readonly script: Script;
}

/** What the first line says: of whom and for whom it is, and the lengths of what follows. */
interface Head {
  readonly tag: string;
  readonly sum: number;
  readonly lengths: readonly (readonly [name: string, source: number, code: number])[];
}

type Wrapped = (
  this: object,
  exports: object,
  require: (name: string) => unknown,
  module: object,
  ...names: string[]
) => void;

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY, S_IWGRP, S_IWOTH } = fs.constants;
const S_ISVTX = 0o1000;

/** Code of one Node is not another's, of the same version or not, and says where it was compiled. */
function tagOf(root: string): string {
  const { arch, execPath, version } = process;
  const { size, mtimeMs } = fs.statSync(execPath);
  return ['1', version, arch, execPath, size, mtimeMs, root].join(' ');
}

function mustBe(isRight: boolean, name: string): void {
  if (!isRight) throw new Error(`${name} is not only ours`);
}

const isOurs = ({ uid, mode }: fs.Stats) =>
  uid === process.geteuid?.() && (mode & (S_IWGRP | S_IWOTH)) === 0;

/** From a folder up there must be none in which somebody else may put another in place of what is there. */
function mustBeSafe(folder: string): void {
  const { uid, mode } = fs.statSync(folder);
  const isShared = (mode & (S_IWGRP | S_IWOTH)) !== 0 && (mode & S_ISVTX) === 0;
  mustBe((uid === 0 || uid === process.geteuid?.()) && !isShared, folder);
  if (folder !== '/') mustBeSafe(path.dirname(folder));
}

/** A folder that is only ours, by a path without links. */
function ourFolder(folder: string): string {
  const stats = fs.lstatSync(folder);
  mustBe(stats.isDirectory() && isOurs(stats), folder);
  const real = fs.realpathSync.native(folder);
  mustBeSafe(real);
  return real;
}

/** Whatever lies there: a pipe would be waited for. */
function readOurs(file: string): Buffer {
  const place = path.join(ourFolder(path.dirname(file)), path.basename(file));
  const descriptor = fs.openSync(place, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const stats = fs.fstatSync(descriptor);
    mustBe(stats.isFile() && isOurs(stats), file);
    return fs.readFileSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Nothing is made where it would not be used. */
function makeOurFolder(folder: string): string {
  const above = path.dirname(folder);
  fs.mkdirSync(above, { recursive: true, mode: 0o755 });
  mustBeSafe(fs.realpathSync.native(above));
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  return ourFolder(folder);
}

/** A rename is whole or not at all. What others left who were killed in between goes with it. */
function writeOurs(file: string, bytes: Buffer): void {
  const folder = makeOurFolder(path.dirname(file));
  const name = path.basename(file);
  const partial = path.join(folder, `${name}.${randomUUID()}`);
  try {
    fs.writeFileSync(partial, bytes, { mode: 0o600, flag: 'wx' });
    fs.renameSync(partial, path.join(folder, name));
  } finally {
    const left = fs.readdirSync(folder).filter((one) => one.startsWith(`${name}.`));
    for (const one of left) fs.rmSync(path.join(folder, one), { force: true });
  }
}

/**
 * Where the code of a command is kept: by default in this user's home, whosever home the environment names.
 *
 * @throws {Error} This user has no home.
 */
export function placeOfCode(command: string): string {
  const { VHOST_NET_CACHE = '' } = process.env;
  const cache = () => path.join(os.userInfo().homedir, '.cache', 'vhost-net');
  const folder = path.isAbsolute(VHOST_NET_CACHE) ? VHOST_NET_CACHE : cache();
  mustBe(path.isAbsolute(folder), folder);
  return path.join(folder, `code-${String(process.geteuid?.())}`, command);
}

/** V8 copies what does not begin at a whole word. */
const aligned = (length: number) => (length + 7) & ~7;

/** A line that says what there is, then source and code of each. */
function written(tag: string, all: ReadonlyMap<string, Kept>): Buffer {
  const pad = (part: Buffer) =>
    Buffer.concat([part, Buffer.alloc(aligned(part.length) - part.length)]);
  const parts = Array.from(all.values(), ({ source, code }) => [pad(source), pad(code)]).flat();
  const rest = Buffer.concat(parts);
  const lengths = Array.from(
    all,
    ([name, { source, code }]) => [name, source.length, code.length] as const,
  );
  const head: Head = { tag, sum: zlib.crc32(rest), lengths };
  return Buffer.concat([pad(Buffer.from(`${JSON.stringify(head)}\n`)), rest]);
}

function read(tag: string, bytes: Buffer): Map<string, Kept> {
  const end = bytes.indexOf('\n') + 1;
  const head = JSON.parse(bytes.toString('utf8', 0, end)) as Head;
  const rest = bytes.subarray(aligned(end));
  if (head.tag !== tag || head.sum !== zlib.crc32(rest)) throw new Error('it is of something else');
  let at = 0;
  const next = (length: number) => {
    const part = rest.subarray(at, at + length);
    at += aligned(length);
    return part;
  };
  return new Map(
    head.lengths.map(([name, source, code]) => [name, { source: next(source), code: next(code) }]),
  );
}

/** By name; empty where nothing was kept, or nothing that may be believed. */
function readKept(root: string, place: () => string): Map<string, Kept> {
  try {
    return read(tagOf(root), readOurs(place()));
  } catch {
    return new Map(); // then everything is compiled
  }
}

/** Node's own; and of what is loaded by it already there must be no second one. */
const nodeRequire: NodeJS.Require = require;

/** Whether Node is to load everything itself: only then it tells places in our sources, and what was covered. */
function isForNode(): boolean {
  const { NODE_V8_COVERAGE, NODE_DISABLE_COMPILE_CACHE } = process.env;
  return process.sourceMapsEnabled || [NODE_V8_COVERAGE, NODE_DISABLE_COMPILE_CACHE].some(Boolean);
}

/** Loads compiled files of ours, and what they require, with code that was kept of them. */
export class KeptCode {
  readonly #place: () => string;
  readonly #root: string;
  readonly #kept: Map<string, Kept>;
  readonly #isOff = isForNode();
  readonly #modules = new Map<string, { exports: object }>();
  readonly #loaded = new Map<string, Loaded>();
  #isDone = false;

  /**
   * @param place  The file to keep code in; nothing is kept while it throws.
   * @param root  The folder that everything to load is below.
   */
  constructor(place: () => string, root: string) {
    this.#place = place;
    this.#root = root;
    this.#kept = this.#isOff ? new Map<string, Kept>() : readKept(root, place);
  }

  /** What a file exports, and each file once. */
  load(file: string): object {
    if (this.#isOff || nodeRequire.cache[file]) return nodeRequire(file) as object;
    const known = this.#modules.get(file);
    if (known) return known.exports;
    const module = { exports: {} };
    this.#modules.set(file, module);
    try {
      this.#run(file, module);
    } catch (error) {
      this.#modules.delete(file);
      throw error;
    }
    return module.exports;
  }

  /**
   * Keeps the code of all that was loaded, with every function that was called so far; once, and unless
   * as much is kept already.
   */
  keep(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    try {
      const all = new Map<string, Kept>();
      for (const [name, { source, script }] of this.#loaded) {
        all.set(name, { source, code: script.createCachedData() });
      }
      if (this.#isMore(all)) writeOurs(this.#place(), written(tagOf(this.#root), all));
    } catch {
      // It only takes longer the next time.
    }
    this.#kept.clear();
    this.#loaded.clear();
  }

  /** By a tenth at least, or of another source. */
  #isMore(all: ReadonlyMap<string, Kept>): boolean {
    return Array.from(all).some(([name, { source, code }]) => {
      const before = this.#kept.get(name);
      return !before?.source.equals(source) || code.length > 1.1 * before.code.length;
    });
  }

  #run(file: string, module: { exports: object }): void {
    const folder = path.dirname(file);
    const load = (name: string): unknown =>
      name.startsWith('.') ? this.load(path.join(folder, name)) : nodeRequire(name);
    this.#compile(file).call(module.exports, module.exports, load, module, file, folder);
  }

  #compile(file: string): Wrapped {
    const name = path.relative(this.#root, file);
    const source = fs.readFileSync(file);
    const kept = this.#kept.get(name);
    const cachedData = kept?.source.equals(source) === true ? kept.code : undefined;
    const script = new Script(
      `(function (exports, require, module, __filename, __dirname) {${source.toString()}\n})`,
      {
        filename: file,
        cachedData,
        importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
      },
    );
    if (script.cachedDataRejected) this.#kept.delete(name);
    this.#loaded.set(name, { source, script });
    return script.runInThisContext() as Wrapped;
  }
}
