import path from 'node:path';

import { antiSpoofRules, flowCookie } from './ovs-flows.js';
import type { CheckedOvsOptions } from './ovs-options.js';
import { optional, parseTables, several } from './ovs-table.js';
import type { OvsRow } from './ovs-table.js';
import type { RunOvs } from './ovs-tools.js';
import { OvsError } from '../errors.js';

/** What the daemon says of a port. */
export interface OvsPortState {
  /** The bridge that it is a port of. */
  readonly bridge: string;
  /** Its number there. */
  readonly ofport: number;
  /** `system`: frames go through the kernel module; `netdev`: through the daemon itself. */
  readonly datapathType: string;
  /** Whether the interface has a carrier, as the daemon sees it. */
  readonly linkUp: boolean;
  /** Bytes, Ethernet header not counted. */
  readonly mtu: number | undefined;
}

/** What is in the database before anything is done. */
export interface FoundPort {
  /** A port of this name is there, on this bridge or another. */
  readonly where: 'nowhere' | 'here' | 'elsewhere';
  /** Whether it has our mark. */
  readonly marked: boolean;
  /** The bridge on which it has rules of ours. */
  readonly guardedOn: string | undefined;
}

/**
 * In the interface's `external_ids`: we have added the port. Nobody else of us has it when its tap could
 * be opened.
 */
const MARK = 'vhost-net';
/** The mark's values: without rules against spoofing, and with. */
const PLAIN = 'port';
const GUARDED = 'guarded';

/** The version since which rules can be exchanged at once. */
const OPENFLOW = ['-O', 'OpenFlow14', '--bundle'];

/** Milliseconds to wait for a daemon that has nothing to say. */
const PATIENCE = 3000;

/** What is looked at of an interface. */
const COLUMNS = ['ofport', 'ofport_request', 'error', 'link_state', 'mtu', 'external_ids'];

/** Strings as `ovs-vsctl` takes them whatever is in them. */
const quote = (text: string) => JSON.stringify(text);

/** What is asked and told about one port. Nothing is done by itself, and nothing is taken back. */
export class OvsVsctl {
  readonly #name: string;
  readonly #options: CheckedOvsOptions;
  readonly #run: RunOvs;

  constructor(name: string, options: CheckedOvsOptions, run: RunOvs) {
    this.#name = name;
    this.#options = options;
    this.#run = run;
  }

  /** @throws {OvsError} No such bridge, somebody else's port, or whatever keeps the database from answering. */
  async find(): Promise<FoundPort> {
    const { bridge, port, iface } = await this.#look();
    const where = !port ? 'nowhere' : isPortOf(bridge, port) ? 'here' : 'elsewhere';
    const ids = (iface?.['external_ids'] ?? {}) as Readonly<Record<string, string>>;
    const marked = ids[MARK] !== undefined;
    if (where !== 'elsewhere' || marked) {
      const guardedOn = ids[MARK] === GUARDED ? await this.#bridgeOf(where) : undefined;
      return { where, marked, guardedOn };
    }
    const message = `${this.#name} is a port of another bridge than ${this.#options.bridge}`;
    throw new OvsError('ERR_VHOST_OVS_PORT', message, [], `ovs-vsctl del-port ${this.#name}`);
  }

  async #bridgeOf(where: FoundPort['where']): Promise<string> {
    if (where !== 'elsewhere') return this.#options.bridge;
    return (await this.#vsctl([['port-to-br', this.#name]], ['--no-wait'])).trim();
  }

  /** Adds the port, or makes the one that is there what was asked for; waits for the daemon. */
  async add({ where, marked, guardedOn }: FoundPort): Promise<void> {
    const { bridge } = this.#options;
    if (guardedOn !== undefined && where === 'elsewhere') await this.unguard(guardedOn);
    const moved = where === 'elsewhere' ? ['--if-exists', 'del-port', this.#name, '--'] : [];
    const add = [...moved, '--may-exist', 'add-port', bridge, this.#name];
    const forget = marked ? ['clear', 'Interface', this.#name, 'external_ids'] : [];
    await this.#vsctl([add, forget, ...this.#settings()]);
  }

  /** The interface's and port's columns; what was not asked for is as of a new one. */
  #settings(): string[][] {
    const { tag, mtu, ingressRate, ingressBurst, externalIds, antiSpoof } = this.#options;
    const name = this.#name;
    const column = (table: string, what: string, value: number | undefined) =>
      value === undefined
        ? ['clear', table, name, what]
        : ['set', table, name, `${what}=${String(value)}`];
    const ids = { ...externalIds, [MARK]: antiSpoof ? GUARDED : PLAIN };
    const all = Object.entries(ids).map(([key, value]) => `external_ids:${key}=${quote(value)}`);
    return [
      column('Port', 'tag', tag),
      column('Interface', 'mtu_request', mtu),
      column('Interface', 'ingress_policing_rate', ingressRate),
      column('Interface', 'ingress_policing_burst', ingressBurst),
      // Other types would make an interface, or open the tap as its driver.
      ['set', 'Interface', name, 'type=""', ...all],
    ];
  }

  /** @throws {OvsError} `ERR_VHOST_OVS_PORT`: the daemon could not make use of the interface. */
  async verify(linkUp: boolean): Promise<OvsPortState> {
    if (linkUp) await this.#waitForLink();
    const { bridge, iface } = await this.#look();
    const [ofport, error] = [optional(iface?.['ofport']), optional(iface?.['error'])];
    if (typeof error === 'string') throw this.#refused(error);
    if (typeof ofport !== 'number' || ofport < 0) throw this.#refused('it has no number');
    if (optional(iface?.['ofport_request']) !== ofport) await this.#keepNumber(ofport);
    const datapathType = String(bridge['datapath_type']);
    return {
      bridge: this.#options.bridge,
      ofport,
      datapathType: datapathType === '' ? 'system' : datapathType,
      linkUp: optional(iface?.['link_state']) === 'up',
      mtu: optional(iface?.['mtu']) as number | undefined,
    };
  }

  /** Whenever the tap comes back, be it after a repair or a crash, rules for its number are right again. */
  async #keepNumber(ofport: number): Promise<void> {
    const set = ['set', 'Interface', this.#name, `ofport_request=${String(ofport)}`];
    await this.#vsctl([set], ['--no-wait']);
  }

  /** Until the daemon has seen a carrier, or has refused the interface. */
  async #waitForLink(): Promise<void> {
    const { iface } = await this.#look();
    if (optional(iface?.['link_state']) === 'up' || optional(iface?.['error']) !== undefined)
      return;
    await this.#vsctl([['wait-until', 'Interface', this.#name, 'link_state=up']]);
  }

  #refused(why: string): OvsError {
    const message = `Open vSwitch can make no use of ${this.#name}: ${why}`;
    return new OvsError('ERR_VHOST_OVS_PORT', message, []);
  }

  /** Rules against spoofing, in the place of those that are there. */
  async guard(ofport: number, { where, guardedOn }: FoundPort): Promise<void> {
    const { antiSpoof } = this.#options;
    if (!antiSpoof) {
      if (guardedOn !== undefined && where === 'here') await this.unguard();
      return;
    }
    const cookie = flowCookie(this.#name);
    const rules = antiSpoofRules(ofport, antiSpoof).map((rule) => `add cookie=${cookie},${rule}`);
    const input = [`delete cookie=${cookie}/-1`, ...rules, ''].join('\n');
    await this.#ofctl(
      [...OPENFLOW, 'add-flows', this.#management(this.#options.bridge), '-'],
      input,
    );
  }

  /** Removes the rules of this port. With the daemon or the bridge they are gone as well. */
  async unguard(bridge = this.#options.bridge): Promise<void> {
    const match = `cookie=${flowCookie(this.#name)}/-1`;
    try {
      await this.#ofctl(['del-flows', this.#management(bridge), match]);
    } catch (error) {
      if ((error as OvsError).code !== 'ERR_VHOST_OVS_DAEMON') throw error;
    }
  }

  /**
   * Removes the port, wherever it is. The daemon should have heard of it before another tap of that name
   * comes, which it would give the MTU of this one; where it does not run there is nothing to wait for.
   */
  async remove(): Promise<void> {
    const command = ['--if-exists', 'del-port', this.#name];
    try {
      await this.#vsctl([command], [], Math.min(this.#options.timeout, PATIENCE));
    } catch {
      await this.#vsctl([command], ['--no-wait']);
    }
  }

  /** Takes our mark from the port, which is somebody else's then. */
  async unmark(): Promise<void> {
    const command = ['--if-exists', 'remove', 'Interface', this.#name, 'external_ids', MARK];
    await this.#vsctl([command], ['--no-wait']);
  }

  async #look(): Promise<{ bridge: OvsRow; port: OvsRow | undefined; iface: OvsRow | undefined }> {
    const { bridge } = this.#options;
    const find = (table: string, name: string, ...columns: string[]) => [
      `--columns=${columns.join(',')}`,
      'find',
      table,
      `name=${quote(name)}`,
    ];
    const output = await this.#vsctl(
      [
        find('Bridge', bridge, 'ports', 'datapath_type'),
        find('Port', this.#name, '_uuid'),
        find('Interface', this.#name, ...COLUMNS),
      ],
      ['--no-wait', '--format=json'],
    );
    const [bridges, ports, interfaces] = parseTables(output);
    const [row] = bridges ?? [];
    if (!row) {
      const message = `there is no bridge ${bridge}`;
      throw new OvsError('ERR_VHOST_OVS_BRIDGE', message, [], `ovs-vsctl add-br ${bridge}`);
    }
    return { bridge: row, port: ports?.[0], iface: interfaces?.[0] };
  }

  #vsctl(
    commands: readonly (readonly string[])[],
    options: readonly string[] = [],
    timeout = this.#options.timeout,
  ): Promise<string> {
    const { database } = this.#options;
    const place = database === undefined ? [] : [`--db=${database}`];
    const given = commands.filter((command) => command.length > 0);
    const args = [...place, ...options, ...given.flatMap((command) => ['--', ...command])];
    return this.#run({ program: 'ovs-vsctl', args, timeout });
  }

  #ofctl(args: readonly string[], input?: string): Promise<string> {
    const { timeout } = this.#options;
    return this.#run({
      program: 'ovs-ofctl',
      args,
      timeout,
      ...(input !== undefined && { input }),
    });
  }

  /** Where the daemon listens for rules: beside its database, under the bridge's name. */
  #management(bridge: string): string {
    const { database } = this.#options;
    if (database === undefined) return bridge;
    return `unix:${path.join(path.dirname(database.slice('unix:'.length)), `${bridge}.mgmt`)}`;
  }
}

function isPortOf(bridge: OvsRow, port: OvsRow): boolean {
  return several(bridge['ports']).includes(port['_uuid']);
}
