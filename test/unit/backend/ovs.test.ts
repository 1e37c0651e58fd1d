import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import vm from 'node:vm';

import { antiSpoofRules, flowCookie } from '#lib/backend/ovs-flows';
import { checkOvsOptions, tapOfOvs } from '#lib/backend/ovs-options';
import type { OvsOptions } from '#lib/backend/ovs-options';
import { runOvs } from '#lib/backend/ovs-tools';
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

describe('a run of a program of Open vSwitch', () => {
  const { PATH } = process.env;
  let folder: string;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vnt-ovs-tools-'));
    process.env['PATH'] = `${folder}:${PATH ?? ''}`;
  });
  afterEach(() => {
    process.env['PATH'] = PATH;
    fs.rmSync(folder, { recursive: true });
  });

  /** Puts a script in the place of the program. */
  function program(script: string): void {
    fs.writeFileSync(path.join(folder, 'ovs-vsctl'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  const run = (...args: string[]) => runOvs({ program: 'ovs-vsctl', args, timeout: 1000 });

  it('gives arguments as they are, with a time-out, and what is to be read', async () => {
    program('printf "%s|" "$@"; cat');
    const args = ['a b', '$(id)', '"', ''];
    const output = await runOvs({ program: 'ovs-vsctl', args, input: 'rules', timeout: 2500 });
    assert.equal(output, '--timeout=3|a b|$(id)|"||rules');
  });

  it('says that the program is not there', async () => {
    process.env['PATH'] = folder;
    await assert.rejects(run(), { name: 'OvsError', code: 'ERR_VHOST_OVS_TOOL' });
  });

  it('tells by the complaint what is wrong', async () => {
    const socket = 'unix:/x/db.sock: database connection failed';
    const complaints: [string, string][] = [
      [`${socket} (No such file or directory)`, 'ERR_VHOST_OVS_DAEMON'],
      [`${socket} (Connection refused)`, 'ERR_VHOST_OVS_DAEMON'],
      [`${socket} (Permission denied)`, 'ERR_VHOST_OVS_DENIED'],
      ['ovs-ofctl: br0 is not a bridge or a socket', 'ERR_VHOST_OVS_DAEMON'],
      ['ovs-vsctl: no bridge named br0', 'ERR_VHOST_OVS_BRIDGE'],
      ['something else', 'ERR_VHOST_OVS_PORT'],
    ];
    for (const [message, code] of complaints) {
      program(`echo '${message}' >&2; exit 1`);
      await assert.rejects(run('show'), (error: OvsError) => {
        assert.deepEqual([error.code, error.message], [code, message]);
        assert.deepEqual(error.command, ['ovs-vsctl', '--timeout=1', 'show']);
        return true;
      });
    }
  });

  it('tells a daemon that does not answer, which the program ends by a signal', async () => {
    program('kill -ALRM $$');
    await assert.rejects(run(), {
      code: 'ERR_VHOST_OVS_DAEMON',
      message: /did not answer in time/,
    });
  });

  it('ends a program that is not waited for any more, and rejects with the reason', async () => {
    program('exec sleep 60');
    const controller = new AbortController();
    const { signal } = controller;
    const running = runOvs({ program: 'ovs-vsctl', args: [], timeout: 50_000, signal });
    controller.abort('enough');
    await assert.rejects(running, (reason) => reason === 'enough');
  });

  it('ends a program that does not end by itself', async () => {
    program('exec sleep 60');
    await assert.rejects(run(), { code: 'ERR_VHOST_OVS_DAEMON' });
  });
});

describe('the rules against spoofing', () => {
  it('are all for that port, and what they do not pass they drop', () => {
    const rules = antiSpoofRules(9, {
      mac: MAC,
      ipv4: ['10.9.0.2', '10.9.1.0/24'],
      ipv6: ['fd00::2'],
    });
    assert.ok(rules.every((rule) => rule.startsWith('in_port=9,priority=')));
    const passing = rules.filter((rule) => rule.endsWith(',actions=NORMAL'));
    assert.ok(passing.every((rule) => rule.includes(`dl_src=${MAC}`)));
    assert.equal(rules.at(-1), 'in_port=9,priority=65000,actions=drop');
    assert.ok(passing.some((rule) => rule.includes('arp_spa=10.9.1.0/24')));
  });

  it('take no ICMPv6 in fragments, of which they do not see the type', () => {
    const rules = antiSpoofRules(1, { mac: MAC });
    assert.ok(rules.includes('in_port=1,priority=65050,icmp6,ip_frag=yes,actions=drop'));
  });

  it('take any address of a family that has no list, and none where the list is empty', () => {
    const passing = (options: object) =>
      antiSpoofRules(1, { mac: MAC, ...options }).filter((rule) => /,ip,.*NORMAL/.test(rule))
        .length;
    assert.equal(passing({ ipv4: [] }), 0);
    assert.equal(passing({ ipv4: ['10.0.0.1'] }), 1);
    assert.equal(antiSpoofRules(1, { mac: MAC }).filter((rule) => rule.includes(',ip,')).length, 0);
  });
});

describe('the options of an Open vSwitch port', () => {
  it('are refused by name where they do not fit', () => {
    const wrong: [object, RegExp][] = [
      [{ bridge: 1 }, /^TypeError: ovs\.bridge must be a string, got 1/],
      [{ bridge: '--db=x' }, /^RangeError: ovs\.bridge must be a name/],
      [{ bridge: '' }, /^RangeError: ovs\.bridge/],
      [{ colour: 1 }, /^TypeError: unknown option 'ovs\.colour'/],
      [{ tag: 0 }, /^RangeError: tag must be an integer in 1\.\.4095/],
      [{ tag: '7' }, /^TypeError: tag must be an integer/],
      [{ mtu: 67 }, /^RangeError: mtu/],
      [{ ingressRate: -1 }, /^RangeError: ingressRate/],
      [{ ingressBurst: 0.5 }, /^RangeError: ingressBurst/],
      [{ externalIds: [] }, /^TypeError: externalIds must be an object/],
      [{ externalIds: new Map([['a', '1']]) }, /^TypeError: externalIds must be an object/],
      [{ externalIds: { 'a=b': '1' } }, /^RangeError: externalIds must be keys/],
      [{ externalIds: { a: 1 } }, /^TypeError: externalIds\.a must be a string/],
      [{ externalIds: { a: '1\n2' } }, /^RangeError: externalIds\.a/],
      [{ database: '/run/db.sock' }, /^RangeError: database must be such as unix:/],
      [
        { database: 'tcp:h:1', antiSpoof: { mac: MAC } },
        /^RangeError: database must be this machine/,
      ],
      [{ timeout: 0 }, /^RangeError: timeout/],
      [{ antiSpoof: MAC }, /^TypeError: antiSpoof must be an object/],
      [{ antiSpoof: {} }, /^RangeError: antiSpoof\.mac must be an address/],
      [{ antiSpoof: { mac: '03:00:00:00:00:01' } }, /^RangeError: antiSpoof\.mac/],
      [{ antiSpoof: { mac: MAC, ipv5: [] } }, /^TypeError: unknown option 'antiSpoof\.ipv5'/],
      [
        { antiSpoof: { mac: MAC, ipv4: '10.0.0.1' } },
        /^TypeError: antiSpoof\.ipv4 must be an array/,
      ],
      ...['fd00::1', '10.0.0.1/33', '10.0.0.1/', '10.0.0.1/1/1', '10.0.0.1,actions=NORMAL', 7].map(
        (text) =>
          [
            { antiSpoof: { mac: MAC, ipv4: [text] } },
            /^RangeError: antiSpoof\.ipv4 must be IPv4/,
          ] as [object, RegExp],
      ),
      [
        { antiSpoof: { mac: MAC, ipv6: ['fd00::1%,actions=NORMAL'] } },
        /^RangeError: antiSpoof\.ipv6/,
      ],
      [{ antiSpoof: { mac: MAC, ipv4: new Array(17).fill('10.0.0.1') } }, /at most 16 addresses/],
    ];
    for (const [options, complaint] of wrong) {
      const all = { bridge: 'br0', ...options } as OvsOptions;
      assert.throws(() => checkOvsOptions(all), complaint, JSON.stringify(options));
    }
    assert.throws(() => checkOvsOptions('br0' as never), /^TypeError: ovs must be an object/);
  });

  it('take ids of any plain object, also of another realm or without a prototype', () => {
    const ids = [
      vm.runInNewContext("({ a: '1' })"),
      Object.assign(Object.create(null), { a: '1' }),
    ];
    for (const externalIds of ids as Record<string, string>[]) {
      assert.equal(checkOvsOptions({ bridge: 'br0', externalIds }).externalIds['a'], '1');
    }
  });

  it('give the tap the MTU of the port, and no other', () => {
    const ovs = { bridge: 'br0' };
    assert.deepEqual(tapOfOvs({ tap: 'vn0', ovs }, 1400), { tap: 'vn0', mtu: 1400 });
    assert.deepEqual(tapOfOvs({ tap: 'vn0', mtu: 9000, ovs }, undefined), {
      tap: 'vn0',
      mtu: 9000,
    });
    assert.throws(() => tapOfOvs({ tap: 'vn0', mtu: 9000, ovs }, 1400), /^RangeError: mtu must be/);
    assert.throws(() => tapOfOvs({ tap: '-x', ovs }, undefined), /^RangeError: tap must be a name/);
  });
});
