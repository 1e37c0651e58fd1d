import assert from 'node:assert/strict';

import { flowCookie } from '#lib/backend/ovs-flows';
import { checkOvsOptions } from '#lib/backend/ovs-options';
import type { OvsOptions } from '#lib/backend/ovs-options';
import type { OvsCommand } from '#lib/backend/ovs-tools';
import { addOvsPort } from '#lib/backend/ovs';
import { OvsError } from '#lib/errors';

const set = (...values: unknown[]) => ['set', values];
const PORT = ['uuid', '11111111-1111-1111-1111-111111111111'];
const OTHER = ['uuid', '22222222-2222-2222-2222-222222222222'];
const MAC = '02:00:00:00:00:02';

/** Rows of what is asked for first; more than one interface: what is found later. */
interface Database {
  bridge?: { ports: unknown; datapath?: string };
  port?: unknown;
  interfaces: readonly Readonly<Record<string, unknown>>[];
}

/** A database that answers, and remembers what it was told. */
class FakeOvs {
  readonly commands: OvsCommand[] = [];
  fails: ((command: OvsCommand) => Error | undefined) | undefined;
  readonly #database: Database;
  #looks = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  readonly run = (command: OvsCommand): Promise<string> => {
    const error = this.fails?.(command);
    if (error) return Promise.reject(error);
    if (command.args.includes('--format=json')) return Promise.resolve(this.#tables());
    if (command.args.includes('port-to-br')) return Promise.resolve('br1\n');
    this.commands.push(command);
    return Promise.resolve('');
  };

  /** What it was told, one line each. */
  get told(): string[] {
    return this.commands.map(({ program, args }) => [program, ...args].join(' '));
  }

  #tables(): string {
    const { bridge, port, interfaces } = this.#database;
    const row = interfaces[Math.min(this.#looks++, interfaces.length - 1)];
    const tables = [
      {
        headings: ['ports', 'datapath_type'],
        data: bridge ? [[bridge.ports, bridge.datapath ?? '']] : [],
      },
      { headings: ['_uuid'], data: port ? [[port]] : [] },
      { headings: Object.keys(row ?? {}), data: row ? [Object.values(row)] : [] },
    ];
    return tables.map((table) => JSON.stringify(table)).join('\n');
  }
}

const UP = {
  ofport: 3,
  ofport_request: 3,
  error: set(),
  link_state: 'up',
  mtu: 1500,
  external_ids: ['map', []],
};

const add = (ovs: FakeOvs, options: Partial<OvsOptions> = {}, linkUp = true) =>
  addOvsPort('vn0', checkOvsOptions({ bridge: 'br0', ...options }), linkUp, ovs.run);

describe('OvsPort', () => {
  it('is added as a plain system port, in one transaction, and removed', async () => {
    const ovs = new FakeOvs({ bridge: { ports: set() }, interfaces: [UP] });
    const port = await add(ovs, {
      tag: 7,
      mtu: 1400,
      ingressRate: 1000,
      externalIds: { 'iface-id': 'x "y"' },
    });
    assert.deepEqual(port.state, {
      bridge: 'br0',
      ofport: 3,
      datapathType: 'system',
      linkUp: true,
      mtu: 1500,
    });
    assert.equal(port.completeOnly, false);
    await port.remove();
    await port.remove();
    assert.deepEqual(ovs.told, [
      'ovs-vsctl -- --may-exist add-port br0 vn0 -- set Port vn0 tag=7' +
        ' -- set Interface vn0 mtu_request=1400 -- set Interface vn0 ingress_policing_rate=1000' +
        ' -- set Interface vn0 ingress_policing_burst=0' +
        ' -- set Interface vn0 type="" external_ids:iface-id="x \\"y\\"" external_ids:vhost-net="port"',
      'ovs-vsctl -- --if-exists del-port vn0',
    ]);
  });

  it('wants complete frames where the daemon itself reads them', async () => {
    const bridge = { ports: set(), datapath: 'netdev' };
    const port = await add(new FakeOvs({ bridge, interfaces: [UP] }));
    assert.equal(port.state.datapathType, 'netdev');
    assert.equal(port.completeOnly, true);
  });

  it('goes to the database that was named, and to the socket for rules beside it', async () => {
    const ovs = new FakeOvs({ bridge: { ports: set() }, interfaces: [UP] });
    const port = await add(ovs, { database: 'unix:/run/h1/db.sock', antiSpoof: { mac: MAC } });
    const [first, rules] = ovs.commands;
    assert.equal(first?.args[0], '--db=unix:/run/h1/db.sock');
    assert.deepEqual(rules?.args, [
      ...['-O', 'OpenFlow14', '--bundle', 'add-flows', 'unix:/run/h1/br0.mgmt', '-'],
    ]);
    const lines = rules.input?.split('\n') ?? [];
    assert.equal(lines[0], `delete cookie=${flowCookie('vn0')}/-1`);
    assert.ok(
      lines
        .slice(1, -1)
        .every((line) => line.startsWith(`add cookie=${flowCookie('vn0')},in_port=3,`)),
    );
    await port.remove();
    assert.deepEqual(ovs.told.slice(2), [
      'ovs-vsctl --db=unix:/run/h1/db.sock -- --if-exists del-port vn0',
      `ovs-ofctl del-flows unix:/run/h1/br0.mgmt cookie=${flowCookie('vn0')}/-1`,
    ]);
  });

  it('adopts a port that is there, with ids of its own and without rules of another time', async () => {
    const stale = {
      ...UP,
      external_ids: [
        'map',
        [
          ['vhost-net', 'guarded'],
          ['iface-id', 'old'],
        ],
      ],
    };
    const ovs = new FakeOvs({ bridge: { ports: PORT }, port: PORT, interfaces: [stale, UP] });
    await add(ovs);
    const [first, second] = ovs.told;
    assert.match(
      first ?? '',
      /^ovs-vsctl -- --may-exist add-port br0 vn0 -- clear Interface vn0 external_ids -- /,
    );
    assert.match(second ?? '', /^ovs-ofctl del-flows br0 cookie=0x\w+\/-1$/);
  });

  it("takes its own port away from another bridge, and nobody else's", async () => {
    const marked = { ...UP, external_ids: ['map', [['vhost-net', 'port']]] };
    const bridge = { ports: set(OTHER) };
    const ovs = new FakeOvs({ bridge, port: PORT, interfaces: [marked] });
    await add(ovs);
    assert.match(
      ovs.told[0] ?? '',
      /^ovs-vsctl -- --if-exists del-port vn0 -- --may-exist add-port br0 vn0/,
    );
    const strange = new FakeOvs({ bridge, port: PORT, interfaces: [UP] });
    await assert.rejects(add(strange), {
      code: 'ERR_VHOST_OVS_PORT',
      hint: 'ovs-vsctl del-port vn0',
    });
    assert.deepEqual(strange.told, []);
  });

  it('leaves no rules behind on the bridge that it is taken from', async () => {
    const guarded = { ...UP, external_ids: ['map', [['vhost-net', 'guarded']]] };
    const bridge = { ports: set(OTHER) };
    const ovs = new FakeOvs({ bridge, port: PORT, interfaces: [guarded] });
    await add(ovs, { database: 'unix:/run/h1/db.sock' });
    const [first, second] = ovs.told;
    const socket = 'unix:/run/h1/br1.mgmt';
    assert.equal(first, `ovs-ofctl del-flows ${socket} cookie=${flowCookie('vn0')}/-1`);
    assert.match(second ?? '', /--if-exists del-port vn0 -- --may-exist add-port br0 vn0/);
  });

  it('keeps its number, for when its tap comes back', async () => {
    const ovs = new FakeOvs({
      bridge: { ports: set() },
      interfaces: [{ ...UP, ofport_request: set() }],
    });
    await add(ovs);
    assert.equal(ovs.told[1], 'ovs-vsctl --no-wait -- set Interface vn0 ofport_request=3');
  });

  it('waits for the carrier, unless it is not wanted', async () => {
    const down = { ...UP, link_state: 'down' };
    const ovs = new FakeOvs({ bridge: { ports: set() }, interfaces: [down, down, UP] });
    assert.equal((await add(ovs)).state.linkUp, true);
    assert.equal(ovs.told[1], 'ovs-vsctl -- wait-until Interface vn0 link_state=up');
    const other = new FakeOvs({ bridge: { ports: set() }, interfaces: [down] });
    assert.equal((await add(other, {}, false)).state.linkUp, false);
    assert.equal(other.told.length, 1);
  });

  it('says that there is no such bridge, and touches nothing', async () => {
    const ovs = new FakeOvs({ interfaces: [UP] });
    await assert.rejects(add(ovs), { code: 'ERR_VHOST_OVS_BRIDGE', hint: 'ovs-vsctl add-br br0' });
    assert.deepEqual(ovs.told, []);
  });

  it('says what the daemon said, and takes the port back', async () => {
    const bad = { ...UP, ofport: -1, error: 'could not open network device vn0 (No such device)' };
    const ovs = new FakeOvs({ bridge: { ports: set() }, interfaces: [bad] });
    await assert.rejects(add(ovs), (error: OvsError) => {
      assert.equal(error.code, 'ERR_VHOST_OVS_PORT');
      assert.match(error.message, /no use of vn0: could not open network device vn0/);
      return true;
    });
    assert.match(ovs.told.at(-1) ?? '', /--if-exists del-port vn0$/);
    const unnumbered = new FakeOvs({
      bridge: { ports: set() },
      interfaces: [{ ...UP, ofport: set() }],
    });
    await assert.rejects(add(unnumbered), /it has no number/);
  });

  it('is removed from the database also where the daemon does not run', async () => {
    const ovs = new FakeOvs({ bridge: { ports: set() }, interfaces: [UP] });
    const port = await add(ovs);
    ovs.fails = ({ args }) =>
      args.includes('--no-wait') ? undefined : new OvsError('ERR_VHOST_OVS_DAEMON', 'silent', []);
    await port.remove();
    assert.equal(ovs.told.at(-1), 'ovs-vsctl --no-wait -- --if-exists del-port vn0');
  });

  it('takes its rules back as well when a step fails', async () => {
    const ovs = new FakeOvs({ bridge: { ports: set() }, interfaces: [UP] });
    const refusal = new OvsError('ERR_VHOST_OVS_PORT', 'no bundles here', []);
    ovs.fails = ({ args }) => (args.includes('--bundle') ? refusal : undefined);
    await assert.rejects(add(ovs, { antiSpoof: { mac: MAC } }), refusal);
    assert.deepEqual(ovs.told.slice(1), [
      'ovs-vsctl -- --if-exists del-port vn0',
      `ovs-ofctl del-flows br0 cookie=${flowCookie('vn0')}/-1`,
    ]);
  });

  it("leaves somebody else's port where it is when a step fails, without its mark", async () => {
    const ovs = new FakeOvs({ bridge: { ports: PORT }, port: PORT, interfaces: [UP] });
    const refusal = new OvsError('ERR_VHOST_OVS_PORT', 'no bundles here', []);
    ovs.fails = ({ args }) => (args.includes('--bundle') ? refusal : undefined);
    await assert.rejects(add(ovs, { antiSpoof: { mac: MAC } }), refusal);
    assert.deepEqual(ovs.told.slice(1), [
      'ovs-vsctl --no-wait -- --if-exists remove Interface vn0 external_ids vhost-net',
      `ovs-ofctl del-flows br0 cookie=${flowCookie('vn0')}/-1`,
    ]);
  });

  it('is taken back when it is not wanted any more while it is added', async () => {
    const ovs = new FakeOvs({ bridge: { ports: set() }, interfaces: [UP] });
    const controller = new AbortController();
    ovs.fails = ({ args, signal }) => {
      if (args.includes('add-port')) controller.abort();
      return signal?.aborted ? (signal.reason as Error) : undefined;
    };
    const options = checkOvsOptions({ bridge: 'br0' });
    const adding = addOvsPort('vn0', options, true, ovs.run, controller.signal);
    await assert.rejects(adding, { name: 'AbortError' });
    assert.deepEqual(ovs.told, ['ovs-vsctl -- --if-exists del-port vn0']);
  });

  it('takes the port back when rules are refused, and tells that first error', async () => {
    const ovs = new FakeOvs({ bridge: { ports: set() }, interfaces: [UP] });
    const refusal = new OvsError('ERR_VHOST_OVS_PORT', 'no bundles here', []);
    ovs.fails = ({ program, args }) =>
      program === 'ovs-ofctl' || args.includes('del-port') ? refusal : undefined;
    await assert.rejects(add(ovs, { antiSpoof: { mac: MAC } }), refusal);
  });
});
