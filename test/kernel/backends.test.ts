import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';

import { checksumsDuring } from '../support/captured.js';
import { iperf } from '../support/iperf.js';
import { TestNetwork } from '../support/network.js';
import { processState } from '../support/process-state.js';
import type { ProcessState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import { respond } from '../support/responder.js';
import { openBackend } from '#lib/backend/open';
import type { BackendOptions } from '#lib/backend/open';
import { Macvtap } from '#lib/backend/macvtap';
import type { IoctlMessage } from '#lib/observe';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';
import { parseMac } from '#lib/sys/link';

/** A backend in the middle, whose wire is the interface `m1`, and how a host beyond is to call us. */
interface Kind {
  readonly kind: string;
  readonly backend: (netns: string) => BackendOptions;
  /** Whether frames come for its own address alone. */
  readonly ownAddress?: boolean;
}

const KINDS: readonly Kind[] = [
  { kind: 'packet socket', backend: (netns) => ({ packet: 'm1', netns }) },
  {
    kind: 'macvtap',
    backend: (netns) => ({ macvtap: 'mt0', link: 'm1', netns }),
    ownAddress: true,
  },
  {
    kind: 'macvtap that has its link to itself',
    backend: (netns) => ({ macvtap: 'mt0', link: 'm1', mode: 'passthru', netns }),
    ownAddress: true,
  },
];

/** What addresses in the VLAN begin with. */
const VLAN_NETWORK = Buffer.from([10, 9, 5]);

/** host a (m0) → veth → m1, backend, port ⇒ port, tap → host b. */
describeWith(['vhost', 'tun', 'root'], 'backends besides the tap', () => {
  let before: ProcessState;
  let a: TestNetwork;
  let middle: TestNetwork;
  let b: TestNetwork;
  let ports: Port[];

  beforeEach(() => {
    before = processState();
    ports = [];
    [a, middle, b] = [new TestNetwork(), new TestNetwork(), new TestNetwork()];
    a.ip('link', 'add', 'm0', 'type', 'veth', 'peer', 'name', 'm1', 'netns', middle.name);
    a.ip('address', 'add', '10.9.0.1/24', 'dev', 'm0');
    a.ip('link', 'set', 'm0', 'up');
    middle.ip('link', 'set', 'm1', 'up');
  });
  afterEach(async () => {
    for (const port of ports) await port.close();
    assert.deepEqual(middle.interfaces().sort(), ['lo', 'm1'], 'what a port made is gone with it');
    for (const network of [a, middle, b]) network.close();
    assert.deepEqual(processState(), before);
  });

  async function open(options: Parameters<typeof openPort>[0]): Promise<Port> {
    const port = await openPort(options);
    ports.push(port);
    return port;
  }

  /** Until the first answer: a link that was just set up drops frames for some time. */
  async function reach(address: string): Promise<void> {
    await a.run('ping', '-c', '1', '-w', '20', '-i', '0.2', '-q', address);
  }

  async function bridgeTo(wire: Port, ownAddress = false): Promise<void> {
    const tap = { tap: 'b0', netns: b.name, addresses: ['10.9.0.2/24'] };
    const { mac } = wire.statistics().link;
    const host = await open({ backend: ownAddress ? { ...tap, mac } : tap });
    for (const [from, to] of [
      [wire, host],
      [host, wire],
    ] as const) {
      from.on('receive', (batch) => {
        for (const frame of batch) to.forward(frame);
        to.flush();
      });
    }
    await reach('10.9.0.2');
  }

  for (const { kind, backend, ownAddress } of KINDS) {
    it(`${kind}: answers pings, each once`, async () => {
      const port = await open({ backend: backend(middle.name) });
      respond(port, ownAddress ? [...(parseMac(port.statistics().link.mac) ?? [])] : undefined);
      await reach('10.9.0.2');
      const report = await a.run('ping', '-c', '100', '-i', '0.002', '-q', '10.9.0.2');
      assert.match(report, /100 packets transmitted, 100 received, 0%/);
      assert.doesNotMatch(report, /duplicates/);
    });

    if (kind.includes('itself')) continue;
    it(`${kind}: carries TCP both ways, with every checksum right on both far sides`, async function () {
      this.timeout(120_000);
      const wire = await open({ backend: backend(middle.name), offloads: 'auto' });
      await bridgeTo(wire, ownAddress);
      const atB = await checksumsDuring(b, 'b0', 'inout', async () => {
        const atA = await checksumsDuring(a, 'm0', 'in', async () => {
          const there = await iperf(a, b, '10.9.0.2', '--bytes', '256K');
          assert.ok(there.bytes > 0, `${String(there.bytes)} bytes to b`);
          const back = await iperf(b, a, '10.9.0.1', '--bytes', '256K');
          assert.ok(back.bytes > 0, `${String(back.bytes)} bytes to a`);
        });
        assert.equal(atA.wrong, 0, 'at a');
        assert.ok(atA.right > 20, `${String(atA.right)} frames at a`);
      });
      assert.equal(atB.wrong, 0, 'at b');
      assert.ok(atB.right > 50, `${String(atB.right)} frames at b`);
    });
  }

  it('packet socket: gets no frame that has a VLAN tag; one on an interface of that VLAN does', async () => {
    a.ip('link', 'add', 'link', 'm0', 'name', 'm0.5', 'type', 'vlan', 'id', '5');
    a.ip('address', 'add', '10.9.5.1/24', 'dev', 'm0.5');
    a.ip('link', 'set', 'm0.5', 'up');
    const trunk = await open({ backend: { packet: 'm1', netns: middle.name } });
    respond(trunk);
    await reach('10.9.0.2');
    const tagged: string[] = [];
    trunk.on('receive', (batch) => {
      for (const { bytes } of batch) {
        if (Buffer.from(bytes).includes(VLAN_NETWORK))
          tagged.push(Buffer.from(bytes).toString('hex'));
      }
    });
    await assert.rejects(a.run('ping', '-c', '2', '-w', '2', '-i', '0.2', '-q', '10.9.5.2'));
    assert.deepEqual(tagged, []);
    middle.ip('link', 'add', 'link', 'm1', 'name', 'm1.5', 'type', 'vlan', 'id', '5');
    middle.ip('link', 'set', 'm1.5', 'up');
    const port = await open({ backend: { packet: 'm1.5', netns: middle.name } });
    respond(port);
    await reach('10.9.5.3'); // another address: the kernel still waits for who did not answer before
    await port.close();
    middle.ip('link', 'delete', 'm1.5');
  });

  it('macvtap that is in use: keeps its offloads when it is attached to', () => {
    const requests: string[] = [];
    const hear = (message: unknown) => requests.push((message as IoctlMessage).request);
    subscribe('vhost-net:ioctl', hear);
    try {
      const options = { macvtap: 'mt0', netns: middle.name };
      using first = Macvtap.open({ ...options, link: 'm1' });
      assert.ok(requests.includes('TUNSETOFFLOAD'), 'one that was created is asked what it can do');
      first.agree({ headerSize: 12, features: first.features });
      requests.length = 0;
      using second = Macvtap.open(options);
      assert.equal(second.features, first.features);
      const fd = second.queues[0]?.descriptor.fd ?? -1;
      const adopted = openBackend({ fd, netns: middle.name });
      assert.equal(adopted.features, first.features);
      adopted.close();
      assert.ok(requests.includes('TUNSETSNDBUF'));
      assert.ok(!requests.includes('TUNSETOFFLOAD'));
    } finally {
      unsubscribe('vhost-net:ioctl', hear);
    }
  });
});
