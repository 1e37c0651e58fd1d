import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import os from 'node:os';

import { cpuTime, threadsOf } from './counters.js';
import { isGuestKind } from './guest-sides.js';
import type { GuestKind } from './guest-sides.js';
import { guestTraffic } from './guest-traffic.js';
import { FAR, NEAR, Network } from './network.js';
import type { Scenario } from './scenarios.js';
import type { Kind, Side } from './sides.js';
import { trafficFor } from './traffic.js';
import type { Pace, Traffic } from './traffic.js';

/** Every side alike: what drives on one CPU, what the kernel does for it on another, if there is one. */
const DRIVER_CPU = os.availableParallelism() > 1 ? '1' : '0';
const WORKER_CPU = '0';

const READY = /^ready\r?$/m;
/** A guest boots meanwhile, perhaps in an emulation. */
const READY_DEADLINE_MS = 120_000;

/** What one run of a side came to. */
export interface Run {
  /** In the scenario's unit. */
  readonly rate: number;
  readonly appNsPerFrame: number;
  readonly workerNsPerFrame: number;
  readonly exitsToUser?: number;
}

/** The line that tells most of why a program ended. */
function telling(output: string): string {
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  return lines.find((line) => /^\w*Error\b/.test(line)) ?? lines.at(-1) ?? 'it said nothing';
}

/** A side's program, at work. */
class Program {
  readonly #child: ChildProcess;
  #output = '';

  constructor(command: readonly string[]) {
    this.#child = spawn('taskset', ['-c', DRIVER_CPU, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  async untilReady(sign: RegExp): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string) => {
        reject(new Error(`${why}: ${telling(this.#output)}`));
      };
      const timer = setTimeout(fail, READY_DEADLINE_MS, 'not ready in time').unref();
      const look = (chunk: Buffer) => {
        this.#output += chunk.toString();
        if (sign.test(this.#output)) resolve();
      };
      this.#child.stdout?.on('data', look);
      this.#child.stderr?.on('data', look);
      this.#child.once('close', () => {
        clearTimeout(timer);
        fail('it ended');
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Pins the workers, and says how to read the CPU time used up to now. */
  placed(): () => { app: number; worker: number } {
    const { app, workers } = threadsOf(this.pid);
    for (const { tid } of workers) execFileSync('taskset', ['-pc', WORKER_CPU, String(tid)]);
    return () => ({ app: cpuTime(app), worker: cpuTime(workers) });
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await closed;
  }
}

async function observe(traffic: Traffic, cpu: () => { app: number; worker: number }): Promise<Run> {
  await traffic.begin();
  try {
    const before = cpu();
    const { rate, frames, exitsToUser } = await traffic.observe();
    const after = cpu();
    if (frames === 0) throw new Error('it is at work, but nothing went through');
    return {
      rate,
      appNsPerFrame: (after.app - before.app) / frames,
      workerNsPerFrame: (after.worker - before.worker) / frames,
      ...(exitsToUser !== undefined && { exitsToUser }),
    };
  } finally {
    await traffic.end();
  }
}

function tapsFor(kind: Kind | GuestKind): string[] {
  return kind === 'forward' || kind === 'tcp' ? [NEAR, FAR] : [NEAR];
}

function address(network: Network, kind: Kind | GuestKind, byProgram: boolean): void {
  if (kind === 'tcp' || (kind === 'echo' && !byProgram)) network.addressBoth();
  else if (kind === 'echo' || isGuestKind(kind)) network.addressNear();
}

interface Setting {
  readonly scenario: Scenario;
  readonly network: Network;
  readonly pace: Pace;
}

function flow({ scenario, network, pace }: Setting, pid = 0): Traffic {
  const { kind } = scenario;
  if (kind === 'guest-boot') throw new Error('nothing flows to a guest that boots');
  return isGuestKind(kind)
    ? guestTraffic(kind, pace, pid)
    : trafficFor(kind, scenario, network, pace);
}

/** A boot is one run, and its CPU time that of all that went before. */
function booted(ms: number, { app, worker }: { app: number; worker: number }): Run {
  return { rate: ms, appNsPerFrame: app, workerNsPerFrame: worker };
}

async function throughProgram(
  side: Side,
  command: readonly string[],
  { scenario, network, pace }: Setting,
): Promise<Run> {
  network.addTaps(scenario.queues ?? 1, ...tapsFor(scenario.kind));
  const start = performance.now();
  const program = new Program(command);
  try {
    await program.untilReady(side.ready ?? READY);
    const readyAfter = performance.now() - start;
    const cpu = program.placed();
    if (scenario.kind === 'guest-boot') return booted(readyAfter, cpu());
    address(network, scenario.kind, true);
    return await observe(flow({ scenario, network, pace }, program.pid), cpu);
  } finally {
    await program.end();
  }
}

async function throughKernel({ scenario, network, pace }: Setting): Promise<Run> {
  network.addBridge();
  address(network, scenario.kind, false);
  const setting = { scenario, network, pace };
  return await observe(flow(setting), () => ({ app: 0, worker: 0 }));
}

/** Runs a side once, on interfaces of its own. */
export async function runSide(side: Side, scenario: Scenario, pace: Pace): Promise<Run> {
  const { kind, length, queues = 1 } = scenario;
  const command = isGuestKind(kind)
    ? (side.guest?.(kind, NEAR) ?? { cannot: 'it has no guests' })
    : side.command({ kind, length, taps: tapsFor(kind), queues });
  if (command && 'cannot' in command) throw new Error(command.cannot);
  const network = new Network();
  try {
    const setting = { scenario, network, pace };
    if (!command) return await throughKernel(setting);
    return await throughProgram(side, command, setting);
  } finally {
    network.remove();
  }
}
