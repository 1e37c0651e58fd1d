import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';

/** One line of a command that prints JSON. */
export type JsonLine = Readonly<Record<string, unknown>> & { readonly type: string };

/** A command that goes on until it is told to end. */
export class Running {
  readonly child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<unknown[]>;
  #output = '';
  #complaints = '';
  #over = false;

  constructor(command: string, ...args: readonly string[]) {
    this.child = spawn(command, args, { stdio: 'pipe' });
    this.child.stdout.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString();
      this.child.emit('said');
    });
    this.child.stderr.on('data', (chunk: Buffer) => {
      this.#complaints += chunk.toString();
      this.child.emit('said');
    });
    this.child.stdin.on('error', () => undefined); // it may end before it reads
    this.child.on('close', () => {
      this.#over = true;
      this.child.emit('said');
    });
    this.#ended = once(this.child, 'close');
  }

  /** What it printed so far. */
  get output(): string {
    return this.#output;
  }

  /** What it complained about so far. */
  get complaints(): string {
    return this.#complaints;
  }

  /** Its output as lines of JSON. */
  lines(type?: string): JsonLine[] {
    const whole = this.#output.slice(0, this.#output.lastIndexOf('\n') + 1);
    const lines = whole.split('\n').filter((line) => line !== '');
    const parsed = lines.map((line) => JSON.parse(line) as JsonLine);
    return type === undefined ? parsed : parsed.filter((line) => line.type === type);
  }

  /** When its output and complaints satisfy this; fails when it ends before. */
  async until(satisfied: () => boolean): Promise<void> {
    while (!satisfied() && !this.#over) await once(this.child, 'said');
    assert.ok(satisfied(), `it ended: ${this.#output}${this.#complaints}`);
  }

  /** Its exit status, when it has ended; the signal that ended it, when one did. */
  async ended(): Promise<number | NodeJS.Signals> {
    const [status, signal] = (await this.#ended) as [number | null, NodeJS.Signals | null];
    return status ?? signal ?? 'SIGKILL';
  }

  /** Sends a signal; the exit status. */
  end(signal: NodeJS.Signals = 'SIGINT'): Promise<number | NodeJS.Signals> {
    this.child.kill(signal);
    return this.ended();
  }
}
