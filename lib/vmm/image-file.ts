import fs from 'node:fs';
import { promisify } from 'node:util';

import { VhostError } from '../errors.js';

/** Bytes that are read to where they are to be, as often as a machine is switched on. */
export interface Content {
  readonly byteLength: number;
  /**
   * @param target  As long as the content.
   * @throws {VhostError} `ERR_VHOST_KERNEL_IMAGE`: the file has become shorter.
   */
  copyTo(target: Uint8Array): void;
}

/** A file of which parts are looked at. */
export interface ImageFile {
  readonly byteLength: number;
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
  readonly #path: string;
  #fd: number;

  constructor(
    path: string,
    fd: number,
    readonly byteLength: number,
  ) {
    this.#path = path;
    this.#fd = fd;
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
        this.#fill(target, position);
      },
    };
  }

  close(): void {
    if (this.#fd >= 0) fs.closeSync(this.#fd);
    this.#fd = -1;
  }

  #fill(target: Uint8Array, position: number): void {
    const { byteLength } = target;
    for (let done = 0; done < byteLength;) {
      const read = fs.readSync(this.#fd, target, done, byteLength - done, position + done);
      if (read === 0) {
        throw new VhostError('ERR_VHOST_KERNEL_IMAGE', `${this.#path} is shorter than it was`);
      }
      done += read;
    }
  }
}

const open = promisify(fs.open);
const readFile = promisify(fs.readFile);

/**
 * Opens a file. What can't be read twice, as a pipe, is read now.
 *
 * @throws {Error} As `fs.open` does.
 */
export async function openImage(path: string): Promise<ImageFile> {
  const fd = await open(path, 'r');
  try {
    const status = fs.fstatSync(fd);
    if (status.isFile()) return new RegularFile(path, fd, status.size);
    const bytes = await readFile(fd);
    fs.closeSync(fd);
    return inMemory(bytes);
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}
