import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';

import { TestNetwork } from '../support/network.js';
import { processState } from '../support/process-state.js';
import type { ProcessState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import type { BackendLink, LinkProperty } from '#lib/backend/backend';
import type { BackendOptions } from '#lib/backend/open';
import { Macvtap } from '#lib/backend/macvtap';
import { Tap } from '#lib/backend/tap';
import type { VhostSystemError } from '#lib/errors';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';
import type { RepairReport } from '#lib/port/recovery';
import { openNetns } from '#lib/sys/link';
import { PacketSocket } from '#lib/sys/packet-socket';

const DEADLINE = { signal: AbortSignal.timeout(600_000) };

/** What an event `link` brings. */
type LinkNews = [link: BackendLink, changed: readonly LinkProperty[]];

/** A frame from us to everybody. */
function broadcast(): Buffer {
  const frame = Buffer.alloc(60);
  frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
  return frame;
}

describeWith(['vhost', 'tun', 'root'], 'what becomes of a backend under a port', () => {
  let before: ProcessState;
  let network: TestNetwork;
  let ports: Port[];

  beforeEach(() => {
    before = processState();
    network = new TestNetwork();
    network.ip('link', 'add', 'm0', 'type', 'veth', 'peer', 'name', 'm1');
    network.ip('link', 'set', 'm0', 'up');
    network.ip('link', 'set', 'm1', 'up');
    ports = [];
  });
  afterEach(async () => {
    for (const port of ports) await port.close();
    network.close();
    assert.deepEqual(processState(), before);
  });

  async function open(backend: object, options: object = {}): Promise<Port> {
    const port = await openPort({
      backend: { ...backend, netns: network.name } as BackendOptions,
      ...options,
    });
    ports.push(port);
    return port;
  }

  /** The next news that this property changed; others may come before, such as a carrier that settles. */
  async function next(port: Port, property: LinkProperty): Promise<BackendLink> {
    for (;;) {
      const [link, changed] = (await once(port, 'link', DEADLINE)) as LinkNews;
      if (changed.includes(property)) return link;
    }
  }

  const KINDS: readonly (readonly [name: string, backend: object])[] = [
    ['vn0', { tap: 'vn0' }],
    ['mt0', { macvtap: 'mt0', link: 'm1' }],
    ['m1', { packet: 'm1' }],
  ];

  for (const [name, backend] of KINDS) {
    it(`${Object.keys(backend)[0] ?? ''}: a changed MTU, and the link down and up, are events`, async () => {
      const port = await open(backend);
      const mtu = next(port, 'mtu');
      network.ip('link', 'set', name, 'mtu', '1400');
      assert.equal((await mtu).mtu, 1400);
      const down = next(port, 'up');
      network.ip('link', 'set', name, 'down');
      const link = await down;
      assert.deepEqual([link.up, link.name], [false, name]);
      const up = next(port, 'up');
      network.ip('link', 'set', name, 'up');
      assert.equal((await up).up, true);
      assert.equal(port.statistics().link.mtu, 1400);
    });
  }

  it('a carrier that the other end takes away is an event', async () => {
    const port = await open({ packet: 'm1' });
    const away = next(port, 'carrier');
    network.ip('link', 'set', 'm0', 'down');
    assert.deepEqual([(await away).carrier, port.statistics().link.up], [false, true]);
  });

  for (const [name, backend] of KINDS.slice(0, 2)) {
    it(`${Object.keys(backend)[0] ?? ''}: deleted in mid-traffic, it is made again, and that is told`, async () => {
      const port = await open(backend);
      const first = port.statistics().link.index;
      const repair = once(port, 'repair', DEADLINE);
      for (let i = 0; i < 50; i++) port.send(broadcast());
      network.ip('link', 'del', name);
      const [report] = (await repair) as [RepairReport];
      assert.deepEqual([report.cause, report.queue], ['backend', 0]);
      const { index, up } = port.statistics().link;
      assert.notEqual(index, first);
      assert.equal(up, true);
      const mtu = next(port, 'mtu');
      network.ip('link', 'set', name, 'mtu', '1300');
      assert.equal((await mtu).mtu, 1300, 'it is watched as the one before was');
      port.send(broadcast());
      await port.drained();
    });
  }

  for (const [what, backend, del] of [
    ['a packet socket whose interface', { packet: 'm1' }, 'm1'],
    ['a macvtap whose link', { macvtap: 'mt0', link: 'm1' }, 'm0'],
  ] as const) {
    it(`${what} is deleted in mid-traffic ends with an error that says so`, async () => {
      const port = await open(backend);
      const error = once(port, 'error', DEADLINE);
      for (let i = 0; i < 50; i++) port.send(broadcast());
      network.ip('link', 'del', del);
      const [{ code, cause }] = (await error) as [{ code: string; cause: VhostSystemError }];
      assert.deepEqual([code, cause.code], ['ERR_VHOST_BACKEND_LOST', 'ENODEV']);
      assert.ok(cause.hint);
    });
  }

  it('all queues of a tap that is deleted go on, each with a report', async () => {
    const port = await open({ tap: 'vn0' }, { queuePairs: 2 });
    const reports: RepairReport[] = [];
    const both = new Promise<void>((resolve) => {
      port.on('repair', (report) => {
        if (reports.push(report) === 2) resolve();
      });
    });
    network.ip('link', 'del', 'vn0');
    await both;
    assert.deepEqual(reports.map(({ queue }) => queue).sort(), [0, 1]);
    for (const queue of port.queues) assert.ok(queue.send(broadcast()));
    await Promise.all(port.queues.map((queue) => queue.drained()));
    assert.equal(port.statistics().link.counters.receivePackets, 2);
  });

  it('a tap is given to a user and a group, and taken over by its descriptors', async () => {
    const tap = Tap.open(
      { tap: 'vn0', netns: network.name, owner: 1234, group: 567, multiQueue: true },
      2,
    );
    try {
      const [{ linkinfo }] = JSON.parse(network.ip('-d', '-j', 'link', 'show', 'vn0')) as [
        { linkinfo: { info_data: { user: string; group: string } } },
      ];
      assert.deepEqual([linkinfo.info_data.user, linkinfo.info_data.group].map(String), [
        '1234',
        '567',
      ]);
      const fds = tap.queues.map(({ descriptor }) => descriptor.fd);
      const port = await openPort({ backend: { fd: fds } });
      assert.equal(port.queues.length, 2);
      assert.equal(port.name, 'vn0');
      assert.ok(port.send(broadcast()));
      await port.drained();
      assert.equal(port.statistics().link.counters.receivePackets, 1);
      await port.close();
      assert.equal(tap.lost(), false, 'the descriptors stay with their owner');
    } finally {
      tap.close();
    }
  });
});

describeWith(
  ['vhost', 'tun', 'root'],
  "a descriptor from another namespace than this thread's",
  () => {
    let network: TestNetwork;
    let closers: { close(): void }[];
    const here = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' });
    beforeEach(() => {
      network = new TestNetwork();
      network.ip('link', 'add', 'm0', 'type', 'veth', 'peer', 'name', 'm1');
      closers = [];
    });
    afterEach(() => {
      for (const one of closers) one.close();
      network.close();
    });

    /** A packet socket that is bound to an interface of the network. */
    function bound(name: string): number {
      const netns = openNetns(network.name);
      const socket = new PacketSocket(netns);
      netns.close();
      closers.push(socket);
      socket.bind(Number(network.sh(`cat /sys/class/net/${name}/ifindex`)));
      return socket.descriptor.fd;
    }

    it('leaves an interface alone that only has the same name here', async () => {
      const macvtap = Macvtap.open({ macvtap: 'vnt-same', link: 'm1', netns: network.name });
      closers.push(macvtap);
      const fd = macvtap.queues[0]?.descriptor.fd ?? -1;
      here('link', 'add', 'vnt-same', 'type', 'dummy');
      try {
        const before = here('link', 'show', 'vnt-same');
        await assert.rejects(openPort({ backend: { fd } }), {
          code: 'ERR_VHOST_BACKEND_TYPE',
          hint: 'name the netns of its interface',
        });
        assert.equal(here('link', 'show', 'vnt-same'), before);
      } finally {
        here('link', 'del', 'vnt-same');
      }
    });

    it('is made what was asked for where its namespace is named, and else nothing is changed', async () => {
      const fd = bound('m1');
      for (const change of [{ mtu: 1400 }, { addresses: ['10.9.0.1/24'] }, { up: false }]) {
        await assert.rejects(
          openPort({ backend: { fd, ...change } }),
          /^RangeError: netns must be/,
        );
      }
      const port = await openPort({ backend: { fd, netns: network.name, mtu: 1400 } });
      const { mtu, up } = port.statistics().link;
      await port.close();
      assert.deepEqual([mtu, up], [1400, true]);
    });

    it('is refused where its interface has no Ethernet', async () => {
      network.ip('tuntap', 'add', 'tun0', 'mode', 'tun');
      const backend = { fd: bound('tun0'), netns: network.name };
      await assert.rejects(openPort({ backend }), { code: 'ERR_VHOST_BACKEND_TYPE' });
    });
  },
);

/** What is asked for, and what the answer is to be. */
interface WrongInput {
  readonly what: string;
  readonly before?: string;
  readonly backend: object;
  readonly code: string;
  readonly request?: string;
  readonly hint: RegExp;
}

const WRONG: readonly WrongInput[] = [
  {
    what: 'a macvtap that is not there, without a link to create it above',
    backend: { macvtap: 'mt0' },
    code: 'ENODEV',
    request: 'RTM_GETLINK',
    hint: /there is no interface mt0: name the link/,
  },
  {
    what: 'a macvtap above nothing',
    backend: { macvtap: 'mt0', link: 'nothing' },
    code: 'ENODEV',
    request: 'RTM_GETLINK',
    hint: /no interface nothing/,
  },
  {
    what: 'a macvtap above what can have none',
    backend: { macvtap: 'mt0', link: 'lo' },
    code: 'EINVAL',
    request: 'RTM_NEWLINK',
    hint: /not possible above that link/,
  },
  {
    what: 'a macvtap with the name of something else',
    backend: { macvtap: 'm0', link: 'm1' },
    code: 'ERR_VHOST_BACKEND_TYPE',
    hint: /another name/,
  },
  {
    what: 'a macvtap above a link that a bridge has',
    before: 'ip link add br0 type bridge; ip link set m1 master br0',
    backend: { macvtap: 'mt0', link: 'm1' },
    code: 'EBUSY',
    request: 'RTM_NEWLINK',
    hint: /has that link to itself/,
  },
  {
    what: 'a packet socket on no interface',
    backend: { packet: 'nothing' },
    code: 'ENODEV',
    request: 'RTM_GETLINK',
    hint: /no interface nothing/,
  },
  {
    what: 'a packet socket on an interface without Ethernet',
    before: 'ip tuntap add tun0 mode tun',
    backend: { packet: 'tun0' },
    code: 'ERR_VHOST_BACKEND_TYPE',
    hint: /Ethernet interface/,
  },
];

describeWith(['vhost', 'tun', 'root'], 'a backend that can not be opened', () => {
  let network: TestNetwork;
  before(() => {
    network = new TestNetwork();
  });
  after(() => {
    network.close();
  });
  beforeEach(() => {
    network.ip('link', 'add', 'm0', 'type', 'veth', 'peer', 'name', 'm1');
  });
  afterEach(() => {
    for (const name of network.interfaces())
      if (name !== 'lo' && name !== 'm1') network.ip('link', 'del', name);
  });

  for (const { what, before: prepare, backend, code, request, hint } of WRONG) {
    it(`is an error with a hint, and leaves nothing: ${what}`, async () => {
      if (prepare !== undefined) network.sh(prepare);
      const state = processState();
      const interfaces = network.interfaces();
      const options = { backend: { ...backend, netns: network.name } as BackendOptions };
      await assert.rejects(openPort(options), (error: VhostSystemError) => {
        assert.deepEqual([error.code, request && error.request], [code, request]);
        assert.match(error.hint ?? '', hint);
        return true;
      });
      assert.deepEqual(processState(), state);
      assert.deepEqual(network.interfaces(), interfaces);
    });
  }

  it('is an error with a hint: descriptors of something else', async () => {
    const state = processState();
    const file = fs.openSync('/dev/null', 'r+');
    try {
      await assert.rejects(openPort({ backend: { fd: file } }), { code: 'ERR_VHOST_BACKEND_TYPE' });
      await assert.rejects(openPort({ backend: { fd: 99_999 } }), { code: 'EBADF' });
    } finally {
      fs.closeSync(file);
    }
    assert.deepEqual(processState(), state);
  });

  it('is an error with a hint: a packet socket without the right to one', () => {
    const script = `
      const { openPort } = require(${JSON.stringify(require.resolve('#lib/port/port'))});
      openPort({ backend: { packet: 'm1' } }).catch(({ code, request, hint }) => {
        console.log(JSON.stringify([code, request, hint]));
      });`;
    const dropped = ['--reuid=65534', '--regid=65534', '--clear-groups'];
    const allowed = '-all,+dac_read_search,+net_admin';
    const caps = [`--inh-caps=${allowed}`, `--ambient-caps=${allowed}`];
    const command = ['netns', 'exec', network.name, 'setpriv', ...dropped, ...caps];
    const { stdout } = spawnSync('ip', [...command, process.execPath, '-e', script], {
      encoding: 'utf8',
    });
    const [code, request, hint] = JSON.parse(stdout) as [string, string, string];
    assert.deepEqual([code, request], ['EPERM', 'AF_PACKET']);
    assert.match(hint, /CAP_NET_RAW/);
  });
});
