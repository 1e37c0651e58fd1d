import { execFileSync } from 'node:child_process';
import path from 'node:path';

import { root, temporaryFolder } from './packed.js';

const CHILD = path.join(__dirname, 'key-rights.child.js');
const SOURCE = path.join(root, 'test/support/key-rights.c');

/** What the kernel gives its own threads: all of key 0, nothing of the others. */
export const INITIAL_RIGHTS = 0x55555554;

/** A request, and the rights of the thread that made it. */
export type RightsAt = readonly [request: string, rights: number];

/** The rights with which a process calls for a worker, and those before and after. */
export function rightsOfWorker(): RightsAt[] {
  const library = path.join(temporaryFolder(), 'key-rights.so');
  const options = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC'];
  execFileSync('cc', [...options, '-o', library, SOURCE]);
  // Sanitizers that are there already have to come first.
  const preloaded = [process.env['LD_PRELOAD'], library].filter(Boolean).join(' ');
  const output = execFileSync(process.execPath, [CHILD], {
    env: { ...process.env, LD_PRELOAD: preloaded },
    encoding: 'utf8',
    timeout: 25_000,
  });
  return output
    .trim()
    .split('\n')
    .map((line) => {
      const [request = '', rights = ''] = line.split(' ');
      return [request, parseInt(rights, 16)];
    });
}
