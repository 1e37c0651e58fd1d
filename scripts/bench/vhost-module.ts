import { spawnSync } from 'node:child_process';
import fs from 'node:fs';

/** Whether the kernel sends long frames from where a program wrote them, as it was loaded. */
const PARAMETER = '/sys/module/vhost_net/parameters/experimental_zcopytx';

const NEEDED = 'vhost_net has to be loaded with experimental_zcopytx=1';

function has(): boolean {
  try {
    return fs.readFileSync(PARAMETER, 'utf8').trim() === '1';
  } catch {
    return false; // not loaded, or without a parameter to read
  }
}

function load(...parameters: string[]): void {
  spawnSync('modprobe', ['-r', 'vhost_net']);
  spawnSync('modprobe', ['vhost_net', ...parameters]);
}

/**
 * Does something while vhost's zero-copy is on.
 *
 * @param mayLoad  Whether the module may be loaded anew for it.
 * @returns Why nothing was done.
 */
export async function withZeroCopy(
  mayLoad: boolean,
  act: () => Promise<void>,
): Promise<Error | undefined> {
  const had = has();
  try {
    if (!had && mayLoad) load('experimental_zcopytx=1');
    if (!has()) return new Error(NEEDED);
    await act();
    return undefined;
  } finally {
    if (!had && mayLoad) load('experimental_zcopytx=0');
  }
}
