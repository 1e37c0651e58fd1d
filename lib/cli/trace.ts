import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

/** What the command was asked. */
export interface TraceOptions {
  readonly json: boolean;
  /** How long to wait for the frame. */
  readonly timeout: number;
}

const INSIDE = path.join(__dirname, '../trace/inside.js');
const LONGEST = 3600;

/** `<linux/capability.h>`. */
const CAP_SYS_ADMIN = 21n;

/** Something that the command needs is not there. */
class Lack extends Error {}

/** Reads the command line; a string is the complaint about it. */
export function traceOptions(args: readonly string[]): TraceOptions | string {
  try {
    const options = { json: { type: 'boolean' }, timeout: { type: 'string' } } as const;
    const { json = false, timeout = '10' } = parseArgs({ args: [...args], options }).values;
    const seconds = timeout.trim() === '' ? NaN : Number(timeout);
    if (seconds > 0 && seconds <= LONGEST) return { json, timeout: seconds };
    return `--timeout takes seconds, up to ${String(LONGEST)}, not '${timeout}'`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Whether this process may make namespaces: CAP_SYS_ADMIN is in force. `proc(5)`. */
function mayMakeNamespaces(): boolean {
  const [, effective = '0'] =
    /^CapEff:\s*(\w+)$/m.exec(fs.readFileSync('/proc/self/status', 'utf8')) ?? [];
  return (BigInt(`0x${effective}`) & (1n << CAP_SYS_ADMIN)) !== 0n;
}

/** Flags of `unshare` for a network namespace: a user's own, where the right to any other is missing. */
function namespaceFlags(): readonly string[] {
  if (mayMakeNamespaces()) return ['--net'];
  const flags = ['--map-root-user', '--net'];
  const tried = spawnSync('unshare', [...flags, 'true'], { encoding: 'utf8' });
  if (tried.error) throw noProgram(tried.error);
  if (tried.status === 0) return flags;
  const lack = 'trace needs a network namespace of its own, and so CAP_SYS_ADMIN: run it as root';
  throw new Lack(`${lack} (${tried.stderr.trim()})`);
}

function noProgram(error: unknown): Lack {
  return new Lack(`trace needs the program 'unshare' of util-linux: ${String(error)}`);
}

/**
 * Follows one frame, and prints the ten steps. It does so in a process of its own in a network
 * namespace without a name, so that nothing of the host's network is touched and nothing can stay.
 * Exit status 0: all ten were observed.
 */
export async function trace(options: TraceOptions): Promise<number> {
  try {
    return await runInside(options);
  } catch (error) {
    if (!(error instanceof Lack)) throw error;
    console.error(`vhost-net: ${error.message}`);
    return 1;
  }
}

async function runInside({ json, timeout }: TraceOptions): Promise<number> {
  const node = [process.execPath, INSIDE, String(timeout), ...(json ? ['--json'] : [])];
  const child = spawn('unshare', [...namespaceFlags(), ...node], { stdio: 'inherit' });
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => child.kill(signal));
  }
  const ended = once(child, 'close').catch((error: unknown) => {
    throw noProgram(error);
  });
  const [status, signal] = (await ended) as [number | null, NodeJS.Signals | null];
  return status ?? 128 + (signal === null ? 0 : os.constants.signals[signal]);
}
