import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { Capture, checksums } from '../support/capture.js';
import { iperf } from '../support/iperf.js';
import { TestNetwork } from '../support/network.js';
import { OpenVSwitch } from '../support/open-vswitch.js';
import { root } from '../support/packed.js';
import { allWorkers, processState } from '../support/process-state.js';
import { describeWith, itLong } from '../support/requirements.js';
import { Running } from '../support/running.js';
import { spoofs } from '../support/spoofs.js';
import { tcpDigests } from '../support/tcp-digests.js';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';
import type { OvsOptions } from '#lib/backend/ovs-options';
import { Cable } from '#lib/switch/cable';

/** Daemons, bridges and commands take seconds each where the machine is emulated. */
const LONG = 240_000;

/** How often a process is killed under traffic; the promise is for fifty. */
const CRASHES = Number(process.env['VHOST_CRASHES'] ?? 2);

const MAIN = path.join(root, 'dist/cli/main.js');

/** An Open vSwitch, a host on a wire of its bridge, and a namespace for what is behind a port of ours. */
class Site {
  readonly inside = new TestNetwork();
  readonly near = new TestNetwork();
  readonly far = new TestNetwork();
  #ovs: OpenVSwitch | undefined;

  get ovs(): OpenVSwitch {
    assert.ok(this.#ovs);
    return this.#ovs;
  }

  async open(datapath: 'system' | 'netdev'): Promise<void> {
    const { inside, far } = this;
    this.#ovs = await OpenVSwitch.start(inside);
    this.ovs.addBridge('br0', datapath);
    inside.ip('link', 'add', 'v1', 'type', 'veth', 'peer', 'eth0', 'netns', far.name);
    inside.ip('link', 'set', 'v1', 'up');
    far.ip('addr', 'add', '10.9.0.1/24', 'dev', 'eth0');
    far.ip('link', 'set', 'eth0', 'up');
    // On a wire every frame is complete.
    inside.exec('ethtool', '-K', 'v1', 'tx', 'off');
    far.exec('ethtool', '-K', 'eth0', 'tx', 'off');
    this.ovs.vsctl('add-port', 'br0', 'v1');
  }

  /** A port of ours on the bridge. */
  openPort(options: Partial<OvsOptions> = {}, tap = 'vn0', signal?: AbortSignal): Promise<Port> {
    const { database } = this.ovs;
    const ovs = { bridge: 'br0', database, ...options };
    const backend = { tap, netns: this.inside.name, ovs };
    return openPort({ backend, offloads: 'auto', ...(signal && { signal }) });
  }

  /** The near host behind it. */
  async openNear(): Promise<Port> {
    const { near } = this;
    const port = await openPort({ backend: { tap: 'eth0', netns: near.name }, offloads: 'auto' });
    near.ip('addr', 'add', '10.9.0.2/24', 'dev', 'eth0');
    return port;
  }

  ping(): Promise<string> {
    return this.near.run('ping', '-c', '3', '-i', '0.1', '-W', '3', '10.9.0.1');
  }

  async close(): Promise<void> {
    await this.#ovs?.close();
    for (const network of [this.inside, this.near, this.far]) network.close();
  }
}

for (const datapath of ['system', 'netdev'] as const) {
  describeWith(
    ['vhost', 'tun', 'root', 'ovs'],
    `a port of Open vSwitch, datapath ${datapath}`,
    () => {
      let site: Site;
      before(async function () {
        this.timeout(LONG);
        site = new Site();
        await site.open(datapath);
      });
      after(async function () {
        this.timeout(LONG);
        await site.close();
      });

      const its = datapath === 'netdev' ? itLong : it;
      its(
        'passes ping and TCP both ways, every checksum is right at the far side, and nothing stays',
        async () => {
          const before = processState();
          const ports = [await site.openPort(), await site.openNear()];
          const [a, b] = ports;
          assert.ok(a && b);
          const cable = new Cable(a, b);
          const { near, far, ovs } = site;
          assert.deepEqual(ovs.ports('br0'), ['v1', 'vn0']);
          await site.ping();
          const capture = await Capture.start(far, 'eth0', 'tcp or icmp or arp');
          for (const [from, to, address] of [
            [near, far, '10.9.0.1'],
            [far, near, '10.9.0.2'],
          ] as const) {
            const [sent, came] = await tcpDigests(from, to, address, 1);
            assert.equal(came, sent);
          }
          const { right, wrong } = checksums(await capture.end());
          assert.deepEqual(wrong, []);
          assert.ok(right > 100, String(right));
          const { bytes } = await iperf(near, far, '10.9.0.1', '--bytes', '2M');
          // The receiver's count of when the sender was done: the rest may still be on its way.
          assert.ok(bytes > 0, String(bytes));
          cable.close();
          for (const port of ports) await port.close();
          assert.deepEqual(ovs.ports('br0'), ['v1']);
          assert.deepEqual(processState(), before);
          assert.deepEqual(near.interfaces(), ['lo']);
          assert.ok(!site.inside.interfaces().includes('vn0'));
        },
      ).timeout(LONG);
    },
  );
}

describeWith(['vhost', 'tun', 'root', 'ovs'], 'a port of Open vSwitch', () => {
  let site: Site;
  const ports: Port[] = [];
  let running: Running | undefined;

  before(async function () {
    this.timeout(LONG);
    site = new Site();
    await site.open('system');
  });
  afterEach(async () => {
    await running?.end('SIGKILL');
    running = undefined;
    for (const port of ports.splice(0)) await port.close();
    assert.deepEqual(site.ovs.ports('br0'), ['v1']);
  });
  after(async function () {
    this.timeout(LONG);
    await site.close();
  });

  const column = (table: string, name: string) => site.ovs.vsctl('get', table, 'vn0', name);

  it('has the tag, MTU, rate and ids that were asked for, and others when it is opened anew', async () => {
    const all = { tag: 10, mtu: 1400, ingressRate: 8000, ingressBurst: 800 };
    let turns = 0;
    const timer = setInterval(() => turns++, 5);
    const port = await site.openPort({ ...all, externalIds: { 'iface-id': 'a "quoted", id' } });
    clearInterval(timer);
    ports.push(port);
    assert.ok(turns > 2, 'the event loop goes on while the programs run');
    assert.equal(port.statistics().link.mtu, 1400);
    assert.equal(column('Port', 'tag'), '10');
    assert.equal(column('Interface', 'mtu'), '1400');
    assert.equal(column('Interface', 'ingress_policing_rate'), '8000');
    assert.equal(column('Interface', 'ingress_policing_burst'), '800');
    assert.equal(column('Interface', 'external_ids:iface-id'), '"a \\"quoted\\", id"');
    await port.close();
    const next = await site.openPort();
    ports.push(next);
    assert.equal(next.statistics().link.mtu, 1500);
    assert.equal(column('Port', 'tag'), '[]');
    site.ovs.vsctl('wait-until', 'Interface', 'vn0', 'mtu=1500');
    assert.equal(column('Interface', 'ingress_policing_rate'), '0');
  }).timeout(LONG);

  it('lets no frame pass that says to be of somebody else, and its rules go with it', async () => {
    const antiSpoof = { mac: spoofs.mac, ipv4: [spoofs.ipv4], ipv6: [spoofs.ipv6] };
    const port = await site.openPort({ antiSpoof });
    ports.push(port);
    const capture = await Capture.start(site.far, 'eth0');
    const answer = once(port, 'receive');
    for (const { frame } of spoofs.frames) port.send(frame);
    port.send(spoofs.question('10.9.0.1'));
    await answer;
    const seen = (await capture.end()).join('\n');
    for (const { title, mark, passes } of spoofs.frames) {
      assert.equal(seen.includes(mark), passes, title);
    }
    await port.close();
    assert.match(site.ovs.ofctl('dump-flows', 'br0'), /^[^\n]*\n[^\n]*priority=0[^\n]*\n$/);
  }).timeout(LONG);

  it('tells what is missing by a code and a hint, and leaves neither tap nor port', async () => {
    const before = processState();
    const { inside, ovs } = site;
    const interfaces = inside.interfaces();
    ovs.vsctl('add-br', 'br1', '--', 'add-port', 'br1', 'taken');
    const wrong: [Partial<OvsOptions>, string, RegExp][] = [
      [{ bridge: 'nobridge' }, 'ERR_VHOST_OVS_BRIDGE', /there is no bridge nobridge/],
      [{ database: `unix:${ovs.folder}/none.sock` }, 'ERR_VHOST_OVS_DAEMON', /No such file/],
    ];
    for (const [options, code, message] of wrong) {
      await assert.rejects(site.openPort(options), { code, message });
    }
    await assert.rejects(site.openPort({}, 'taken'), {
      code: 'ERR_VHOST_OVS_PORT',
      message: 'taken is a port of another bridge than br0',
      hint: 'ovs-vsctl del-port taken',
    });
    assert.deepEqual(ovs.ports('br1'), ['taken']);
    ovs.vsctl('del-br', 'br1');
    const controller = new AbortController();
    const opening = site.openPort({}, 'vn0', controller.signal);
    controller.abort();
    await assert.rejects(opening, { name: 'AbortError' });
    const { PATH } = process.env;
    process.env['PATH'] = '/nonexistent';
    await assert
      .rejects(site.openPort(), {
        code: 'ERR_VHOST_OVS_TOOL',
        hint: 'install Open vSwitch: package openvswitch-switch',
      })
      .finally(() => (process.env['PATH'] = PATH));
    await ovs.stopDaemon();
    await assert.rejects(site.openPort({ timeout: 1000 }), { code: 'ERR_VHOST_OVS_DAEMON' });
    assert.deepEqual(ovs.ports('br0'), ['v1']);
    await ovs.startDaemon();
    assert.deepEqual(processState(), before);
    assert.deepEqual(inside.interfaces(), interfaces);
  }).timeout(LONG);

  it("leaves somebody else's port on its bridge when a step fails", async () => {
    const { ovs, inside } = site;
    ovs.vsctl('--no-wait', 'add-port', 'br0', 'theirs');
    const { PATH } = process.env;
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vnt-ovs-'));
    fs.symlinkSync('/usr/bin/ovs-vsctl', path.join(folder, 'ovs-vsctl')); // and no ovs-ofctl
    process.env['PATH'] = folder;
    await assert
      .rejects(site.openPort({ antiSpoof: { mac: spoofs.mac } }, 'theirs'), {
        code: 'ERR_VHOST_OVS_TOOL',
      })
      .finally(() => (process.env['PATH'] = PATH));
    fs.rmSync(folder, { recursive: true });
    assert.deepEqual(ovs.ports('br0'), ['theirs', 'v1']);
    assert.equal(ovs.vsctl('get', 'Interface', 'theirs', 'external_ids'), '{}');
    assert.ok(!inside.interfaces().includes('theirs'));
    ovs.vsctl('del-port', 'theirs');
  }).timeout(LONG);

  it('carries on after the daemon was killed and started again, and after the tap was deleted', async () => {
    const [port, near] = [await site.openPort(), await site.openNear()];
    ports.push(port, near);
    const cable = new Cable(port, near);
    await site.ping();
    const number = column('Interface', 'ofport');
    await site.ovs.stopDaemon();
    await site.ovs.startDaemon();
    site.ovs.vsctl('set', 'Open_vSwitch', '.', 'external_ids:again=1');
    await site.ping();
    site.inside.ip('link', 'del', 'dev', 'vn0');
    await once(port, 'repair');
    site.ovs.vsctl('wait-until', 'Interface', 'vn0', 'link_state=up');
    await site.ping();
    assert.equal(column('Interface', 'ofport'), number);
    cable.close();
  }).timeout(LONG);

  it(`is adopted by the next process when one was killed under traffic, ${String(CRASHES)} times`, async function () {
    this.timeout(LONG + CRASHES * 20_000);
    const { inside, near, far, ovs } = site;
    const before = allWorkers();
    const taps = [`tap:eth0@${near.name}`, `tap:vn0@${inside.name}`];
    const command = [process.execPath, MAIN, 'forward', ...taps, '--ovs', 'br0', '--json'];
    const start = async () => {
      running = new Running('env', `OVS_RUNDIR=${ovs.folder}`, ...command);
      const started = running;
      await started.until(() => started.lines('ready').length === 1);
      return started;
    };
    const flood = far.start('ping', '-f', '-b', '10.9.0.255');
    const numbers = new Set<string>();
    for (let i = 0; i < CRASHES; i++) {
      const process = await start();
      const received = () => Number(near.sh('cat /sys/class/net/eth0/statistics/rx_packets'));
      await process.until(() => received() > 0);
      numbers.add(column('Interface', 'ofport'));
      assert.equal(allWorkers().length, before.length + taps.length);
      assert.equal(await process.end('SIGKILL'), 'SIGKILL');
      assert.deepEqual(allWorkers(), before);
      assert.deepEqual(near.interfaces(), ['lo']);
      assert.ok(!inside.interfaces().includes('vn0'));
      assert.deepEqual(ovs.ports('br0'), ['v1', 'vn0'], 'left behind, to be adopted');
    }
    const last = await start();
    numbers.add(column('Interface', 'ofport'));
    assert.equal(numbers.size, 1, [...numbers].join());
    assert.deepEqual(ovs.ports('br0'), ['v1', 'vn0']);
    assert.equal(await last.end(), 0, last.complaints);
    flood.kill();
  });
});
