import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';

let serial = 0;

/** A network namespace of a test's own: what happens in it nobody else sees, and it leaves nothing. */
export class TestNetwork {
  readonly name: string;

  readonly #signal: AbortSignal | undefined;

  /** @param options  Aborting the signal ends the commands that {@link start} and {@link run} began. */
  constructor(options: { signal?: AbortSignal } = {}) {
    this.#signal = options.signal;
    this.name = `vnt${String(process.pid)}x${String(serial++)}`;
    execFileSync('ip', ['netns', 'add', this.name]);
    this.ip('link', 'set', 'lo', 'up');
    // Router solicitations and the like would mix with a test's own frames.
    this.sh('echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6');
  }

  /** `ip` inside; its output. */
  ip(...args: string[]): string {
    return execFileSync('ip', ['-n', this.name, ...args], { encoding: 'utf8' });
  }

  sh(script: string): string {
    return this.exec('sh', '-c', script);
  }

  /** A command inside; its output. What it complains about goes into the error. */
  exec(command: string, ...args: string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.name, command, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Begins a command inside. */
  start(command: string, ...args: string[]): ChildProcessByStdio<null, Readable, Readable> {
    return spawn('ip', ['netns', 'exec', this.name, command, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(this.#signal && { signal: this.#signal }),
    });
  }

  /** A command inside while this process goes on; its output when it succeeded. */
  async run(command: string, ...args: string[]): Promise<string> {
    const child = this.start(command, ...args);
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const [status] = (await once(child, 'close')) as [number | null];
    if (status !== 0) throw new Error(`${command} ended with ${String(status)}: ${output}`);
    return output;
  }

  /** Joins interfaces to one Ethernet, which forwards from the first frame on. */
  bridge(...interfaces: string[]): void {
    this.ip('link', 'add', 'br0', 'type', 'bridge', 'stp_state', '0', 'mcast_snooping', '0');
    for (const name of interfaces) this.ip('link', 'set', 'dev', name, 'master', 'br0');
    this.ip('link', 'set', 'br0', 'up');
  }

  interfaces(): string[] {
    const links = JSON.parse(this.ip('-j', 'link')) as { ifname: string }[];
    return links.map((link) => link.ifname);
  }

  close(): void {
    execFileSync('ip', ['netns', 'del', this.name]);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
