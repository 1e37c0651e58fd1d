// Begins a job of Node's over pages, closes them under it, and says what came of it: pages.program.js JOB.
import assert from 'node:assert/strict';

import { native } from '#lib/native';
import { Pages } from '#lib/sys/pages';
import { JOBS, socketJobs } from '../../support/jobs.js';

const BYTES = 1 << 24;

async function collected(): Promise<void> {
  for (let round = 0; round < 100 && native.pagesReserved() > 0; round++) {
    global.gc?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function attack(job: (view: Uint8Array<ArrayBuffer>) => Promise<unknown>): Promise<string> {
  const pages = Pages.allocate({ byteLength: BYTES });
  const view = new Uint8Array(pages.buffer).fill(7);
  const done = job(view);
  pages.close();
  assert.equal(view.length, 0);
  assert.equal(native.pagesCount(), 0, 'the memory is not given back at once');
  assert.equal(native.pagesReserved(), 1, "others can have the job's addresses");
  return done.then(
    () => 'done',
    (error: unknown) => `failed: ${String(error)}`,
  );
}

async function main(name = ''): Promise<void> {
  const job = name === 'net.Socket.write' ? await socketJobs() : JOBS[name];
  assert.ok(job, `no job ${name}`);
  console.log(await attack(job));
  await collected();
  assert.equal(native.pagesReserved(), 0, 'the addresses are never given back');
}

void main(process.argv[2]);
