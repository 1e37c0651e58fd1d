import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import os from 'node:os';

import { cpuTime, threadsOf } from './counters.js';

/** Every side alike: what drives on one CPU, what the kernel does for it on another, if there is one. */
const DRIVER_CPU = os.availableParallelism() > 1 ? '1' : '0';
const WORKER_CPU = '0';

const READY = /^ready\r?$/m;
/** A guest boots meanwhile, perhaps in an emulation. */
const READY_DEADLINE_MS = 120_000;
/** For what ends in good order; what does not is killed. */
const END_DEADLINE_MS = 30_000;

/** Nanoseconds that a program and its vhost workers have run. */
export interface CpuTime {
  readonly app: number;
  readonly worker: number;
}

/** The line that tells most of why a program ended. */
function telling(output: string): string {
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  return lines.find((line) => /^\w*Error\b/.test(line)) ?? lines.at(-1) ?? 'it said nothing';
}

/** A side's program, at work. */
export class Program {
  readonly #child: ChildProcess;
  #output = '';

  constructor(command: readonly string[]) {
    this.#child = spawn('taskset', ['-c', DRIVER_CPU, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Resolves when it says that it is at work: by default with a line `ready`. */
  async untilReady(sign = READY): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string) => {
        reject(new Error(`${why}: ${telling(this.#output)}`));
      };
      const timer = setTimeout(fail, READY_DEADLINE_MS, 'not ready in time').unref();
      const look = (chunk: Buffer) => {
        this.#output += chunk.toString();
        if (!sign.test(this.#output)) return;
        clearTimeout(timer);
        resolve();
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
  placed(): () => CpuTime {
    const { app, workers } = threadsOf(this.pid);
    for (const { tid } of workers) execFileSync('taskset', ['-pc', WORKER_CPU, String(tid)]);
    return () => ({ app: cpuTime(app), worker: cpuTime(workers) });
  }

  /** All its threads stand still, a guest's CPUs among them, until it is resumed. */
  pause(): void {
    this.#child.kill('SIGSTOP');
  }

  resume(): void {
    this.#child.kill('SIGCONT');
  }

  /** In good order, as a user would end it: some keep then what makes the next start quicker. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGTERM');
    this.resume(); // one that is paused takes no signal
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_DEADLINE_MS);
    await closed;
    clearTimeout(timer);
  }
}
