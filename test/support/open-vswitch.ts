import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import type { TestNetwork } from './network.js';

const SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema';

/** Why no Open vSwitch can be started here; undefined when one can. */
export function whyNoOpenVSwitch(): string | undefined {
  if (!fs.existsSync(SCHEMA)) return `${SCHEMA} is missing (package openvswitch-switch)`;
  return undefined;
}

/**
 * An Open vSwitch of a test's own, with a database of its own, whose interfaces and tunnels are those of
 * one network namespace.
 */
export class OpenVSwitch {
  /** Where its sockets are. */
  readonly folder: string;
  readonly #network: TestNetwork;
  readonly #daemons = new Map<'ovsdb-server' | 'ovs-vswitchd', ChildProcess>();

  static async start(network: TestNetwork): Promise<OpenVSwitch> {
    const ovs = new OpenVSwitch(network);
    const database = path.join(ovs.folder, 'conf.db');
    execFileSync('ovsdb-tool', ['create', database, SCHEMA]);
    await ovs.#startServer(database);
    ovs.vsctl('--no-wait', 'init');
    await ovs.startDaemon();
    return ovs;
  }

  private constructor(network: TestNetwork) {
    this.#network = network;
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vnt-ovs-'));
  }

  /** As the option `database` takes it. */
  get database(): string {
    return `unix:${path.join(this.folder, 'db.sock')}`;
  }

  /** The daemon's process. */
  get daemon(): ChildProcess | undefined {
    return this.#daemons.get('ovs-vswitchd');
  }

  vsctl(...args: string[]): string {
    const command = [`--db=${this.database}`, '--timeout=30', ...args];
    return execFileSync('ovs-vsctl', command, { encoding: 'utf8', stdio: 'pipe' }).trim();
  }

  ofctl(command: string, bridge: string, ...args: string[]): string {
    const socket = `unix:${path.join(this.folder, `${bridge}.mgmt`)}`;
    return execFileSync('ovs-ofctl', [command, socket, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  }

  /** A bridge that forwards from the first frame on. */
  addBridge(name: string, datapath: 'system' | 'netdev' = 'system'): void {
    this.vsctl('add-br', name, '--', 'set', 'Bridge', name, `datapath_type=${datapath}`);
  }

  /** Frames that the kernel could not ask the daemon about, and dropped: they are in no interface's counter. */
  lost(): number {
    const control = path.join(this.folder, 'ovs-vswitchd.ctl');
    const said = execFileSync('ovs-appctl', ['-t', control, 'dpctl/show'], { encoding: 'utf8' });
    return [...said.matchAll(/ lost:(\d+)/g)].reduce((sum, [, lost]) => sum + Number(lost), 0);
  }

  /** Names of a bridge's ports. */
  ports(bridge: string): string[] {
    return this.vsctl('list-ports', bridge).split('\n').filter(Boolean).sort();
  }

  async #startServer(database: string): Promise<void> {
    const socket = path.join(this.folder, 'db.sock');
    const args = [database, `--remote=punix:${socket}`];
    await this.#start('ovsdb-server', [], args, () => fs.existsSync(socket));
  }

  /** The daemon, again after {@link stopDaemon}. */
  async startDaemon(): Promise<void> {
    // In the first ten seconds of a machine 3.1 believes that it has no CPU, and loses every upcall of
    // the kernel: it is shown a later clock.
    const clock = ['unshare', '--fork', '--kill-child', '--time', '--monotonic', '1000'];
    const socket = path.join(this.folder, 'ovs-vswitchd.ctl');
    await this.#start('ovs-vswitchd', clock, [this.database], () => fs.existsSync(socket));
  }

  /** Ends the daemon at once, as a crash would. */
  async stopDaemon(): Promise<void> {
    await this.#end('ovs-vswitchd');
    fs.rmSync(path.join(this.folder, 'ovs-vswitchd.ctl'), { force: true });
  }

  async #start(
    name: 'ovsdb-server' | 'ovs-vswitchd',
    before: readonly string[],
    args: readonly string[],
    up: () => boolean,
  ): Promise<void> {
    const own = [`--unixctl=${path.join(this.folder, `${name}.ctl`)}`, '--no-chdir'];
    const log = [`--log-file=${path.join(this.folder, `${name}.log`)}`, '-vconsole:off'];
    const program = [...before, name, ...args, ...own, ...log];
    const env = { ...process.env, OVS_RUNDIR: this.folder, OVS_LOGDIR: this.folder };
    const inside = ['netns', 'exec', this.#network.name, ...program];
    const child = spawn('ip', inside, { env, stdio: 'ignore' });
    this.#daemons.set(name, child);
    const watcher = fs.watch(this.folder);
    try {
      while (!up()) {
        if (child.exitCode !== null) throw new Error(`${name} ended: ${this.log(name)}`);
        await Promise.race([once(watcher, 'change'), once(child, 'exit')]);
      }
    } finally {
      watcher.close();
    }
  }

  /** What a daemon wrote to its log. */
  log(name: 'ovsdb-server' | 'ovs-vswitchd'): string {
    const file = path.join(this.folder, `${name}.log`);
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
  }

  async #end(name: 'ovsdb-server' | 'ovs-vswitchd'): Promise<void> {
    const child = this.#daemons.get(name);
    this.#daemons.delete(name);
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    // What waits for the daemon takes no signal itself, and ends with it.
    const pid = String(child.pid);
    const inner = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    process.kill(Number(inner === '' ? pid : inner), 'SIGKILL');
    await ended;
  }

  /** Removes the bridges, which would stay in the kernel, and ends both daemons. */
  async close(): Promise<void> {
    if (this.daemon) {
      for (const bridge of this.vsctl('list-br').split('\n').filter(Boolean)) {
        this.vsctl('del-br', bridge);
      }
    }
    await this.#end('ovs-vswitchd');
    await this.#end('ovsdb-server');
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
