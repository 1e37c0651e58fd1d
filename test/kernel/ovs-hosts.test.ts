import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';

import { Capture, checksums } from '../support/capture.js';
import { TestNetwork } from '../support/network.js';
import { OpenVSwitch } from '../support/open-vswitch.js';
import { root } from '../support/packed.js';
import { describeWith, itLong } from '../support/requirements.js';
import { tcpDigests } from '../support/tcp-digests.js';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';
import { Cable } from '#lib/switch/cable';

const LONG = 240_000;

/** The guide's commands under a heading, the words in capitals replaced. */
function guide(heading: string, words: Readonly<Record<string, string>>): string {
  const text = fs.readFileSync(path.join(root, 'docs/guides/open-vswitch.md'), 'utf8');
  const section = text.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const [, commands] = /```sh\n([^]*?)```/.exec(section) ?? [];
  assert.ok(commands, heading);
  return Object.entries(words).reduce(
    (all, [word, value]) => all.replaceAll(word, value),
    commands,
  );
}

/** A machine: an Open vSwitch, a port of ours on its bridge, and a host behind that port. */
class Machine {
  readonly network = new TestNetwork();
  readonly host = new TestNetwork();
  readonly ports: Port[] = [];
  #ovs: OpenVSwitch | undefined;

  constructor(readonly number: number) {}

  get ovs(): OpenVSwitch {
    assert.ok(this.#ovs);
    return this.#ovs;
  }

  async open(): Promise<void> {
    const { network, host, number } = this;
    this.#ovs = await OpenVSwitch.start(network);
    this.ovs.addBridge('br0');
    const ovs = { bridge: 'br0', mtu: 1400, database: this.ovs.database };
    const outer = { tap: 'vn0', netns: network.name, ovs };
    const inner = {
      tap: 'eth0',
      netns: host.name,
      mtu: 1400,
      addresses: [`10.8.0.${String(number)}/24`],
    };
    for (const backend of [outer, inner])
      this.ports.push(await openPort({ backend, offloads: 'auto' }));
    const [a, b] = this.ports;
    assert.ok(a && b);
    new Cable(a, b);
  }

  async close(): Promise<void> {
    for (const port of this.ports) await port.close();
    await this.#ovs?.close();
    this.network.close();
    this.host.close();
  }
}

describeWith(['vhost', 'tun', 'root', 'ovs'], 'ports of Open vSwitch on two machines', () => {
  const machines: Machine[] = [];

  before(async function () {
    this.timeout(LONG);
    const [one, two] = [new Machine(1), new Machine(2)];
    machines.push(one, two);
    for (const machine of machines) await machine.open();
    one.network.ip('link', 'add', 'up0', 'type', 'veth', 'peer', 'up0', 'netns', two.network.name);
    for (const { network, number } of machines) {
      network.ip('addr', 'add', `192.168.7.${String(number)}/24`, 'dev', 'up0');
      network.ip('link', 'set', 'up0', 'up');
      // On a wire every frame is complete, also the one inside.
      network.exec('ethtool', '-K', 'up0', 'tx', 'off');
    }
  });
  afterEach(() => {
    for (const { ovs } of machines) ovs.vsctl('--if-exists', 'del-port', 'br0', 'tun0');
  });
  after(async function () {
    this.timeout(LONG);
    for (const machine of machines) await machine.close();
  });

  for (const type of ['geneve', 'vxlan']) {
    const its = type === 'vxlan' ? itLong : it;
    its(
      `talk to each other by ${type}: the longest frames, and TCP with every checksum right`,
      async () => {
        const [one, two] = machines;
        assert.ok(one && two);
        for (const [here, there] of [
          [one, two],
          [two, one],
        ] as const) {
          const words = { geneve: type, PEER: `192.168.7.${String(there.number)}` };
          const { folder } = here.ovs;
          here.network.sh(`export OVS_RUNDIR=${folder}; ${guide('Two hosts', words)}`);
        }
        await one.host.run(
          'ping',
          '-c',
          '3',
          '-i',
          '0.1',
          '-W',
          '3',
          '-s',
          '1372',
          '-M',
          'do',
          '10.8.0.2',
        );
        const tunnel = await Capture.start(two.network, 'up0', 'udp');
        await two.host.run('ping', '-c', '2', '-i', '0.1', '-s', '1372', '-M', 'do', '10.8.0.1');
        for (const [from, to] of [
          [one, two],
          [two, one],
        ] as const) {
          const address = `10.8.0.${String(to.number)}`;
          const [sent, came] = await tcpDigests(from.host, to.host, address, 1);
          assert.equal(came, sent);
        }
        const outer = await tunnel.end();
        assert.ok(outer.some((frame) => frame.includes(type === 'geneve' ? '.6081: ' : '.4789: ')));
        const { right, wrong } = checksums(outer);
        assert.deepEqual(wrong, []);
        assert.ok(right > 100, String(right));
      },
    ).timeout(LONG);
  }
});
