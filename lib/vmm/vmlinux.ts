/**
 * The way around the kernel's own decompression, which is the longest part of a boot: the kernel is
 * taken out of its bzImage once, and kept.
 */
import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import zlib from 'node:zlib';

import { cacheFolder } from '../cache-folder.js';
import { compactKernel } from './compact-kernel.js';
import { inMemory, openImage } from './image-file.js';
import type { ImageFile } from './image-file.js';
import { findSeen, noteSeen } from './seen-files.js';
import { areApart, isElf, payloadOf, readBzImage, readVmlinux } from './kernel-image.js';
import type { KernelImage } from './kernel-image.js';

/** How a payload begins, and what unpacks it. */
const FORMATS: readonly (readonly [magic: string, command: readonly string[]])[] = [
  ['28b52ffd', ['zstd', '-dc']],
  ['fd377a58', ['xz', '-dc']],
  ['02214c18', ['lz4', '-dc']],
  ['425a68', ['bzip2', '-dc']],
  ['5d0000', ['xz', '-dc', '--format=lzma']],
  ['894c5a', ['lzop', '-dc']],
];
const GZIP = '1f8b';

/** `arch/x86/boot/compressed`: the length of what is packed follows it, except where gzip has it itself. */
const TRAILER = 4;

/** Bytes at a time: fresh memory for all of a kernel costs more than to hash it. */
const HASHED = 2 ** 20;

/** Where unpacked kernels are kept. */
function keptKernels(): string {
  return path.join(cacheFolder(), 'vmlinux');
}

/** A kernel, and the file that its segments are in. */
export interface OpenKernel {
  readonly image: KernelImage;
  /** To be closed when nothing of the kernel is needed any more. */
  readonly file: ImageFile;
}

/**
 * Opens a kernel file: an uncompressed one as it is; a bzImage unpacked, or as it is where nothing here
 * can unpack it.
 *
 * @throws {VhostError} `ERR_VHOST_KERNEL_IMAGE`: no kernel that can be booted.
 */
export async function openKernel(path: string): Promise<OpenKernel> {
  const given = await openImage(path);
  try {
    const kernel = await kernelOf(given);
    if (kernel.file !== given) given.close();
    return kernel;
  } catch (error) {
    given.close();
    throw error;
  }
}

async function kernelOf(given: ImageFile): Promise<OpenKernel> {
  if (isElf(given)) return { image: readVmlinux(given), file: given };
  const packed = readBzImage(given);
  const seen = await findSeen(keptKernels(), given);
  const unpacked = seen === undefined ? undefined : await openKept(seen, given);
  return unpacked ?? (await openUnpacked(given)) ?? { image: packed, file: given };
}

async function openUnpacked(bzImage: ImageFile): Promise<OpenKernel | undefined> {
  const before = bzImage.identify?.();
  const kept = placeOf(bzImage);
  const whole = () => inMemory(bzImage.bytes(0, bzImage.byteLength));
  const kernel = (await openKept(kept, bzImage)) ?? (await unpackAndKeep(whole()));
  if (kernel && before) await noteSeen(bzImage, before, kept).catch(() => undefined);
  return kernel;
}

/** @internal Where a bzImage's kernel is kept, once it was unpacked. */
export function placeOf(bzImage: ImageFile): string {
  return path.join(keptKernels(), cacheKey(bzImage));
}

/** The kernel from the cache; undefined when there is none, or what is there is damaged. */
async function openKept(kept: string, bzImage: ImageFile): Promise<OpenKernel | undefined> {
  let file: ImageFile | undefined;
  try {
    file = await openImage(kept);
    return { image: readVmlinux(file, bzImage), file };
  } catch {
    file?.close();
    return undefined;
  }
}

/**
 * The kernel of a bzImage, for the cache as well; undefined when nothing here can unpack it.
 *
 * @param bzImage  In memory: what is hashed must be what is unpacked, whatever becomes of the file meanwhile.
 */
async function unpackAndKeep(bzImage: ImageFile): Promise<OpenKernel | undefined> {
  const kept = placeOf(bzImage);
  const { start, length } = payloadOf(bzImage);
  const bytes = await unpack(bzImage.bytes(start, length)).catch(() => undefined);
  const file = inMemory(bytes ?? new Uint8Array(0));
  if (!bytes || !isElf(file)) return undefined;
  const image = readVmlinux(file, bzImage);
  await keepCompact(kept, bytes, image).catch(() => undefined); // It is only slower the next time.
  return (await openKept(kept, bzImage)) ?? { image, file };
}

/** But for one whose segments share addresses, or bytes of the file: to look through those might take for ever. */
async function keepCompact(kept: string, bytes: Uint8Array, { segments }: KernelImage) {
  const loaded = segments.reduce((sum, { content }) => sum + content.byteLength, 0);
  const isUsual = areApart(segments) && loaded <= bytes.length;
  await keep(kept, isUsual ? compactKernel(bytes) : bytes);
}

/**
 * All of it: whoever may give a guest its kernel must not be able to make one that is taken for another's.
 * BLAKE2 is the quickest that does, where the processor has nothing for SHA.
 */
function cacheKey(bzImage: ImageFile): string {
  const { byteLength } = bzImage;
  const hash = createHash('blake2b512');
  const chunk = new Uint8Array(Math.min(HASHED, byteLength));
  for (let at = 0; at < byteLength; at += HASHED) {
    const some = chunk.subarray(0, byteLength - at);
    bzImage.part(at, some.byteLength).copyTo(some);
    hash.update(some);
  }
  return hash.digest('hex').slice(0, 32);
}

/** A rename is whole or not at all, and of bytes that are on the disk: nobody finds half a kernel. */
async function keep(kept: string, kernel: Uint8Array): Promise<void> {
  await fs.mkdir(path.dirname(kept), { recursive: true, mode: 0o755 });
  const partial = `${kept}.${randomUUID()}`;
  try {
    await fs.writeFile(partial, kernel, { flush: true });
    await fs.rename(partial, kept);
  } finally {
    await fs.rm(partial, { force: true });
  }
}

async function unpack(payload: Uint8Array): Promise<Uint8Array | undefined> {
  const begin = Buffer.from(payload.subarray(0, 4)).toString('hex');
  if (begin.startsWith(GZIP)) return promisify(zlib.gunzip)(payload);
  const [, command] = FORMATS.find(([magic]) => begin.startsWith(magic)) ?? [];
  return command && filter(command, payload.subarray(0, payload.length - TRAILER));
}

/** What a program makes of its input. */
function filter([program = '', ...args]: readonly string[], input: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'] });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.once('error', reject);
    child.once('close', (status) => {
      if (status === 0) resolve(Buffer.concat(chunks));
      else reject(new Error(`${program} ended with ${String(status)}`));
    });
    child.stdin.on('error', () => undefined); // How it ended says more.
    child.stdin.end(input);
  });
}
