/**
 * Which kernel a packed one had when it was looked at last: links in the cache, by what a file system says of
 * the file. So it need not be read as a whole at each boot.
 *
 * Only of files on the file system that the kernel is kept on: another, as of a disk image, may have been made so that
 * what it says of a file is what was said of another.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

import type { FileIdentity, ImageFile } from './image-file.js';

function linkOf(folder: string, { inode, version }: FileIdentity): string {
  return path.join(folder, `seen-${String(inode)}-${version}`);
}

async function isOn(device: bigint, kept: string): Promise<boolean> {
  const { dev } = await fs.stat(kept, { bigint: true });
  return dev === device;
}

/** Where the kernel is that a file has in it, when that was noted of this very content. */
export async function findSeen(folder: string, packed: ImageFile): Promise<string | undefined> {
  const identity = packed.identify?.();
  if (!identity) return undefined;
  const link = linkOf(folder, identity);
  const isThere = await isOn(identity.device, link).catch(() => false);
  return isThere ? link : undefined;
}

/**
 * Notes where it is, in place of what was noted of the same file before.
 *
 * @param before  What the file was before it was read: nothing is noted of one that was written to meanwhile.
 */
export async function noteSeen(packed: ImageFile, before: FileIdentity, kept: string) {
  const now = packed.identify?.();
  if (now?.version !== before.version || !(await isOn(now.device, kept))) return;
  const folder = path.dirname(kept);
  const ofSame = `seen-${String(now.inode)}-`;
  const old = (await fs.readdir(folder)).filter((name) => name.startsWith(ofSame));
  for (const name of old) await fs.rm(path.join(folder, name), { force: true });
  await fs.symlink(path.basename(kept), linkOf(folder, now));
}
