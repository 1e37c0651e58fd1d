import { execFile } from 'node:child_process';

import { OvsError } from '../errors.js';
import { observable } from '../observe.js';

/** One run of a program of Open vSwitch, on the channel `vhost-net:ovs`. */
export interface OvsMessage {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** What it read, of rules. */
  readonly input: string | undefined;
  /** Why it failed; undefined when it did not. */
  readonly error: OvsError | undefined;
  /** How long it took. */
  readonly milliseconds: number;
}

const runs = observable<OvsMessage>('vhost-net:ovs', ({ command, error, milliseconds }) =>
  [
    `ran ${command.join(' ')}`,
    `${milliseconds.toFixed(0)} ms`,
    ...(error ? [error.message] : []),
  ].join(', '),
);

/** What is run. */
export interface OvsCommand {
  readonly program: 'ovs-vsctl' | 'ovs-ofctl';
  readonly args: readonly string[];
  /** What it reads. */
  readonly input?: string;
  /** Milliseconds; the program is told, and ended when it does not listen. */
  readonly timeout: number;
  /** Aborting ends the program. */
  readonly signal?: AbortSignal | undefined;
}

/** Runs a program; what it printed. */
export type RunOvs = (command: OvsCommand) => Promise<string>;

/** How a run failed: with a status, by a signal, or with an errno before it began. */
interface Failure {
  readonly code?: string | number | null;
  readonly killed?: boolean;
  readonly signal?: string | null;
  readonly stderr?: string;
}

/** Beyond its own time-out. */
const GRACE = 2000;

/**
 * Runs a program of Open vSwitch without a shell, while the event loop goes on.
 *
 * @throws {OvsError} It failed, or did not answer in time. The signal's reason, when that was aborted.
 */
export async function runOvs(options: OvsCommand): Promise<string> {
  const { program, args, input, timeout, signal } = options;
  const seconds = Math.max(1, Math.ceil(timeout / 1000));
  const command = [program, `--timeout=${String(seconds)}`, ...args];
  const began = performance.now();
  const tell = (error?: OvsError) => {
    const milliseconds = performance.now() - began;
    if (runs.hasSubscribers) runs.publish({ command, input, error, milliseconds });
  };
  try {
    const output = await execute(command, input, { timeout: seconds * 1000 + GRACE, signal });
    tell();
    return output;
  } catch (error) {
    const { stderr = '', ...reason } = error as Failure;
    const why = explain(command, reason, stderr.trim() || (error as Error).message);
    tell(why);
    signal?.throwIfAborted();
    throw why;
  }
}

function execute(
  [program = '', ...args]: string[],
  input: string | undefined,
  until: { readonly timeout: number; readonly signal: AbortSignal | undefined },
) {
  return new Promise<string>((resolve, reject) => {
    // Its complaints are matched: in the language that they were written in.
    const env = { ...process.env, LC_ALL: 'C' };
    const options = { ...until, env, encoding: 'utf8', killSignal: 'SIGKILL' } as const;
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      if (!error) resolve(stdout);
      else reject(Object.assign(error as Error, { stderr }));
    });
    child.stdin?.on('error', () => undefined); // it may end before it reads
    child.stdin?.end(input);
  });
}

/** What its complaint means. Each was seen of Open vSwitch 3.1. */
const COMPLAINTS: readonly (readonly [complaint: RegExp, code: OvsError['code']])[] = [
  [/Permission denied/, 'ERR_VHOST_OVS_DENIED'],
  [
    /database connection failed|failed to connect to socket|is not a bridge or a socket/,
    'ERR_VHOST_OVS_DAEMON',
  ],
  [/signal 14|Alarm clock/, 'ERR_VHOST_OVS_DAEMON'],
  [/no bridge named|no row "\S+" in table Bridge/, 'ERR_VHOST_OVS_BRIDGE'],
];

function explain(command: readonly string[], reason: Failure, said: string): OvsError {
  const { code, killed, signal } = reason;
  if (code === 'ENOENT' || code === 'EACCES') {
    return new OvsError(
      'ERR_VHOST_OVS_TOOL',
      `${command[0] ?? ''} can not be run: ${said}`,
      command,
    );
  }
  if (killed === true || signal === 'SIGALRM') {
    const silent = `Open vSwitch did not answer in time: ${command.join(' ')}`;
    return new OvsError('ERR_VHOST_OVS_DAEMON', silent, command);
  }
  const known = COMPLAINTS.find(([complaint]) => complaint.test(said));
  return new OvsError(known?.[1] ?? 'ERR_VHOST_OVS_PORT', said, command);
}
