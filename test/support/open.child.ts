// Opens a port under limits, and prints what came of it: the error's fields, or {} when there was none.
//
//   open.child.js '{"backend":{"tap":"vn0"}}' '{"nofile":0}'
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';

import { errorFields } from './error-fields.js';
import { openPort } from '#lib/port/port';
import type { PortOptions } from '#lib/port/options';

/** What the process has of a resource now: a limit says how much more it may have. */
const NOW: Record<string, () => number> = {
  nofile: () => Math.max(...fs.readdirSync('/proc/self/fd').map(Number)) + 32,
  as: () => Number(fs.readFileSync('/proc/self/statm', 'utf8').split(' ')[0]) * 4096,
  // Threads of the user, who has at least this one.
  nproc: () => 1,
  memlock: () => 0,
};

/** Opens files until the limit, and closes so many: numbers below it may have been free as well. */
function leaveDescriptors(count: number): void {
  const opened: number[] = [];
  try {
    for (;;) opened.push(fs.openSync('/', 'r'));
  } catch {
    for (const fd of opened.slice(0, count)) fs.closeSync(fd);
  }
}

const [options = '{}', limits = '{}'] = process.argv.slice(2);
for (const [name, more] of Object.entries(JSON.parse(limits) as Record<string, number>)) {
  const limit = (NOW[name]?.() ?? 0) + more;
  execFileSync('prlimit', ['--pid', String(process.pid), `--${name}=${String(limit)}`]);
  if (name === 'nofile') leaveDescriptors(more);
}

openPort(JSON.parse(options) as PortOptions)
  .then((port) => port.close())
  .then(
    () => {
      console.log('{}');
    },
    (error: unknown) => {
      console.log(JSON.stringify(errorFields(error)));
    },
  );
