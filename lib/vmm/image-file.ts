import fs from 'node:fs';
import { promisify } from 'node:util';

import { VhostError } from '../errors.js';

const open = promisify(fs.open);
const readFile = promisify(fs.readFile);

/** Bytes that are read to where they are to be, as often as a machine is switched on. */
export interface Content {
  readonly byteLength: number;
  /**
   * @param target  As long as the content.
   * @throws {VhostError} `ERR_VHOST_KERNEL_IMAGE`: the file was written to meanwhile.
   */
  copyTo(target: Uint8Array): void;
}

/**
 * Milliseconds that a file must not have changed for: a clock of file systems goes by steps, of a few
 * milliseconds or of two seconds, within which a second change can't be seen.
 */
const SETTLED = 2500;

/** Tells a file, as it is now, from every other of its file system, and from itself after a change. */
export interface FileIdentity {
  /** The file system, as long as it is mounted. */
  readonly device: bigint;
  readonly inode: bigint;
  /** With the time of change, which no call sets; only what is mapped already may change without it for some time. */
  readonly version: string;
}

/** A file of which parts are looked at. */
export interface ImageFile {
  readonly byteLength: number;
  /** Undefined: it is no file that could be told from what it will be after a change. */
  identify?(): FileIdentity | undefined;
  /** Some of it; less where it ends. */
  bytes(position: number, length: number): Uint8Array;
  /** Some of it, which stays where it is until it is copied. Of use until the file is closed. */
  part(position: number, length: number): Content;
  close(): void;
}

/** What is in memory, as a file. */
export function inMemory(bytes: Uint8Array): ImageFile {
  const some = (position: number, length: number) => bytes.subarray(position, position + length);
  return {
    byteLength: bytes.byteLength,
    bytes: some,
    part: (position, byteLength) => ({
      byteLength,
      copyTo: (target) => {
        target.set(some(position, byteLength));
      },
    }),
    close: () => undefined,
  };
}

class RegularFile implements ImageFile {
  readonly byteLength: number;
  readonly #path: string;
  readonly #modified: bigint;
  #fd: number;

  constructor(path: string, fd: number, status: fs.BigIntStats) {
    this.byteLength = Number(status.size);
    this.#path = path;
    this.#modified = status.mtimeNs;
    this.#fd = fd;
  }

  identify(): FileIdentity | undefined {
    const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = fs.fstatSync(this.#fd, { bigint: true });
    if (Date.now() - Number(ctimeMs) < SETTLED) return undefined;
    return { device: dev, inode: ino, version: [size, mtimeNs, ctimeNs].join('-') };
  }

  bytes(position: number, length: number): Uint8Array {
    const end = Math.min(position + length, this.byteLength);
    const target = new Uint8Array(Math.max(end - position, 0));
    this.#fill(target, position);
    return target;
  }

  part(position: number, byteLength: number): Content {
    return {
      byteLength,
      copyTo: (target) => {
        this.#check();
        this.#fill(target, position);
      },
    };
  }

  close(): void {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd >= 0) fs.closeSync(fd);
  }

  /** Half of one kernel and half of another is worse than none. */
  #check(): void {
    const { size, mtimeNs } = fs.fstatSync(this.#fd, { bigint: true });
    if (Number(size) !== this.byteLength || mtimeNs !== this.#modified) this.#refuse();
  }

  #fill(target: Uint8Array, position: number): void {
    const { byteLength } = target;
    for (let done = 0; done < byteLength;) {
      const read = fs.readSync(this.#fd, target, done, byteLength - done, position + done);
      if (read === 0) this.#refuse();
      done += read;
    }
  }

  #refuse(): never {
    const reason = `${this.#path} is not what it was when the machine was made`;
    throw new VhostError('ERR_VHOST_KERNEL_IMAGE', reason);
  }
}

/**
 * Opens a file. What can't be read twice, as a pipe, is read now, and so is what does not say how long it is.
 *
 * @throws {Error} As `fs.open` and `fs.read` do.
 */
export async function openImage(path: string): Promise<ImageFile> {
  const fd = await open(path, 'r');
  let regular: ImageFile | undefined;
  try {
    const status = fs.fstatSync(fd, { bigint: true });
    if (status.isDirectory()) fs.readSync(fd, new Uint8Array(1)); // refused; readFile() finds it empty
    const isKept = status.isFile() && status.size > 0;
    regular = isKept ? new RegularFile(path, fd, status) : undefined;
    return regular ?? inMemory(await readFile(fd));
  } finally {
    if (!regular) fs.closeSync(fd);
  }
}
