import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import readline from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { cpuTime, findWorkers, framesReceived } from './counters.js';
import type { Sample } from './counters.js';
import type { Side, Task } from './sides.js';

/** Every side alike: what drives on one CPU, what the kernel does for it on another. */
const DRIVER_CPU = '1';
const WORKER_CPU = '0';

const WARM_UP_MS = 1500;
const MEASURE_MS = 2000;

/** What one run of a side came to. */
export interface Run {
  readonly rate: number;
  readonly appNsPerFrame: number;
  readonly workerNsPerFrame: number;
}

function ip(...args: string[]): void {
  execFileSync('ip', args);
}

async function untilReady(child: ChildProcess): Promise<void> {
  const { stdout } = child;
  if (!stdout) throw new Error('no output to wait for');
  const lines = readline.createInterface({ input: stdout });
  for await (const line of lines) if (line === 'ready') return;
  throw new Error('it ended before it was ready');
}

function start(command: readonly string[]): ChildProcess {
  return spawn('taskset', ['-c', DRIVER_CPU, ...command], { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill('SIGKILL');
  await closed;
}

/** Pins the workers, and says where the CPU time of each thread is found. */
function placeWorkers(pid: number): string[] {
  const workers = findWorkers(pid);
  for (const { tid } of workers) execFileSync('taskset', ['-pc', WORKER_CPU, String(tid)]);
  return workers.map(({ folder }) => folder);
}

function sum(folders: readonly string[]): number {
  return folders.reduce((total, folder) => total + cpuTime(folder), 0);
}

function difference(before: Sample, after: Sample): Run {
  const frames = after.frames - before.frames;
  const seconds = Number(after.nanoseconds - before.nanoseconds) / 1e9;
  return {
    rate: frames / seconds,
    appNsPerFrame: (after.appNs - before.appNs) / frames,
    workerNsPerFrame: (after.workerNs - before.workerNs) / frames,
  };
}

async function measure(pid: number, tap: string): Promise<Run> {
  const workers = placeWorkers(pid);
  const app = [`/proc/${String(pid)}/task/${String(pid)}`];
  const sample = (): Sample => ({
    nanoseconds: process.hrtime.bigint(),
    frames: framesReceived(tap),
    appNs: sum(app),
    workerNs: sum(workers),
  });
  await sleep(WARM_UP_MS);
  const before = sample();
  await sleep(MEASURE_MS);
  return difference(before, sample());
}

/** Runs a side once, on a tap of its own. */
export async function runSide(side: Side, task: Omit<Task, 'tap'>): Promise<Run> {
  const tap = 'bench0';
  ip('tuntap', 'add', 'dev', tap, 'mode', 'tap');
  ip('link', 'set', tap, 'up');
  const child = start(side.command({ ...task, tap }));
  try {
    await untilReady(child);
    return await measure(child.pid ?? 0, tap);
  } finally {
    await end(child);
    ip('link', 'del', tap);
  }
}
