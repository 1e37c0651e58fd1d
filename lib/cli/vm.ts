import { Transform } from 'node:stream';

import type { VmOptions } from './vm-options.js';
import type { MachineEnd, MachineStatistics } from '../index.js';

export { vmOptions } from './vm-options.js';

/** Ctrl-A: what follows is for us and not for the guest. */
const ESCAPE = 0x01;
const LEAVE = 'x'.charCodeAt(0);

/** When a guest has started, at the latest: V8 forgets the code of what is not called any more. */
const STARTED_MS = 60_000;

/**
 * Runs a machine whose console is this terminal, until it ends, a signal comes, or Ctrl-A x is typed.
 *
 * @param keepCode  Keeps the compiled code of what a boot needs; called once it has come to that.
 * @returns The guest's exit status; 0 also when it was ended from here; 1: it could not be run.
 */
export async function vm(
  { machine: options, json }: VmOptions,
  keepCode: () => void,
): Promise<number> {
  const stop = new AbortController();
  const input = new Keyboard(() => {
    stop.abort();
  });
  const restore = rawTerminal();
  try {
    process.stdin.pipe(input);
    stopOnSignals(stop);
    stopWithReaders(stop);
    // The console's bytes go where a report of ours does not.
    const output = json ? process.stderr : process.stdout;
    const console = { input, output };
    // Not the whole package: ports are of no use to a machine.
    const { Machine } = await import('../vmm/machine.js');
    const machine = await Machine.boot({ ...options, console, signal: stop.signal });
    const started = setTimeout(keepCode, STARTED_MS).unref();
    const end = await machine.wait();
    clearTimeout(started);
    const status = report(end, machine.statistics(), json);
    if (!end.error) keepCode();
    return status;
  } catch (error) {
    if (error === stop.signal.reason) return 0; // ended from here before it began
    const { message, hint } = error as Error & { hint?: string };
    process.stderr.write(`vhost-net: ${message}${hint === undefined ? '' : `\n  ${hint}`}\n`);
    return 1;
  } finally {
    restore();
    process.stdin.unpipe(input);
    process.stdin.pause();
  }
}

function stopOnSignals(stop: AbortController): void {
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stop.abort();
    });
  }
}

/** Whoever read what we write is gone (`EPIPE`): an end in good order, and no uncaught exception. */
function stopWithReaders(stop: AbortController): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', () => {
      stop.abort();
    });
  }
}

function report(end: MachineEnd, statistics: MachineStatistics, json: boolean): number {
  const { reason, status, error } = end;
  if (error) process.stderr.write(`vhost-net: ${error.message}\n`);
  if (json) {
    const plain = { reason, status, error: error?.message, ...statistics };
    process.stdout.write(`${JSON.stringify(plain, undefined, 2)}\n`);
  }
  return status;
}

/** Every key goes to the guest, Ctrl-C too. */
function rawTerminal(): () => void {
  const { stdin } = process;
  if (!stdin.isTTY) return () => undefined;
  stdin.setRawMode(true);
  return () => {
    stdin.setRawMode(false);
  };
}

/** What is typed, without what is for us: Ctrl-A x leaves, Ctrl-A Ctrl-A is one for the guest. */
class Keyboard extends Transform {
  readonly #leave: () => void;
  #escaped = false;

  constructor(leave: () => void) {
    super();
    this.#leave = leave;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    for (const key of chunk) this.#type(key);
    done();
  }

  #type(key: number): void {
    if (!this.#escaped && key === ESCAPE && process.stdin.isTTY) {
      this.#escaped = true;
      return;
    }
    if (this.#escaped && key === LEAVE) this.#leave();
    else this.push(Buffer.of(key));
    this.#escaped = false;
  }
}
