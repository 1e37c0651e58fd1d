import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { errorFields } from '../support/error-fields.js';
import { TestNetwork } from '../support/network.js';
import { describeWith, itLong } from '../support/requirements.js';
import { Tap } from '#lib/backend/tap';
import { openPort } from '#lib/port/port';
import type { PortOptions } from '#lib/port/options';
import { EventFd } from '#lib/sys/eventfd';
import { Pages } from '#lib/sys/pages';
import { Tun } from '#lib/sys/tun';
import { VhostNet } from '#lib/sys/vhost-net';

const CHILD = path.resolve(__dirname, '../support/open.child.js');

/** Somebody with no right to anything. */
const NOBODY = 65534;

/** A thread of the process since 6.4, so that limits of processes hold for it. */
const WORKER_IS_TASK = /^(6\.([4-9]|\d\d)|[7-9]|\d\d)/.test(os.release());

/** What an error must say, besides that there is a hint to it. */
interface Expected {
  readonly code: string;
  readonly syscall: string;
  readonly request?: string;
  readonly path?: string;
  readonly hint: RegExp;
}

/** A port that is opened in the network, and fails unless no error is expected. */
interface Case {
  readonly what: string;
  /** What others say nearly the same of. */
  readonly long?: true;
  /** Commands that root runs in the network before. */
  readonly before?: string;
  /** The only nodes in `/dev`, in the form of mknod(1). Default: both, for everybody. */
  readonly nodes?: readonly string[];
  /** Options of setpriv(1). Default: root. */
  readonly as?: readonly string[];
  readonly limits?: Readonly<Record<string, number>>;
  /** Whether a process of the network's own names it, to enter it again. Or another one's name. */
  readonly netns?: true | string;
  readonly tap?: object;
  readonly port?: object;
  readonly expected?: Expected;
}

/** The capability lets it read the project, wherever that lies; it opens no device. */
const WITH = (...capabilities: string[]) => {
  const all = ['-all', 'dac_read_search', ...capabilities].join(',+');
  const ids = [`--reuid=${String(NOBODY)}`, `--regid=${String(NOBODY)}`, '--clear-groups'];
  return [...ids, `--inh-caps=${all}`, `--ambient-caps=${all}`];
};
const USER = WITH();
/** A tap that root has made for somebody. */
const THEIR_TAP = `ip tuntap add vn0 mode tap user ${String(NOBODY)}; ip link set vn0 up`;

const TUN = '-m 666 /dev/net/tun c 10 200';
const VHOST = '-m 666 /dev/vhost-net c 10 238';
/** A minor number that no module serves, as that of a module that is not there. */
const NO_MODULE = 'c 10 199';

const open = (place: string, code: string, hint: RegExp): Expected => {
  return { code, syscall: 'open', path: place, hint };
};
const ioctl = (request: string, code: string, hint: RegExp): Expected => {
  return { code, syscall: 'ioctl', request, hint };
};
const netlink = (request: string, code: string, hint: RegExp): Expected => {
  return { code, syscall: 'netlink', request, hint };
};

const CASES: readonly Case[] = [
  {
    what: 'there is no /dev/net/tun',
    nodes: [VHOST],
    expected: open('/dev/net/tun', 'ENOENT', /modprobe tun/),
  },
  {
    what: '/dev/net/tun is there, its module is not',
    long: true,
    nodes: [VHOST, `/dev/net/tun ${NO_MODULE}`],
    expected: open('/dev/net/tun', 'ENODEV', /modprobe tun/),
  },
  {
    what: '/dev/net/tun is not for this user',
    nodes: [VHOST, TUN.replace('666', '600')],
    as: USER,
    expected: open('/dev/net/tun', 'EACCES', /read and write access/),
  },
  {
    what: 'there is no /dev/vhost-net',
    nodes: [TUN],
    expected: open('/dev/vhost-net', 'ENOENT', /modprobe vhost_net/),
  },
  {
    what: '/dev/vhost-net is there, its module is not',
    long: true,
    nodes: [TUN, `/dev/vhost-net ${NO_MODULE}`],
    expected: open('/dev/vhost-net', 'ENODEV', /modprobe vhost_net/),
  },
  {
    what: '/dev/vhost-net is not for this user',
    before: THEIR_TAP,
    nodes: [TUN, VHOST.replace('666', '600')],
    as: USER,
    expected: open('/dev/vhost-net', 'EACCES', /read and write access/),
  },
  {
    what: 'there is no such network namespace',
    netns: 'no-such-namespace',
    expected: open('/run/netns/no-such-namespace', 'ENOENT', /ip netns add/),
  },
  {
    what: 'the namespace is another file',
    long: true,
    netns: '/etc/passwd',
    expected: { code: 'EINVAL', syscall: 'setns', hint: /no network namespace/ },
  },
  {
    what: 'without the right to enter the namespace',
    as: WITH('net_admin'),
    netns: true,
    expected: { code: 'EPERM', syscall: 'setns', hint: /CAP_SYS_ADMIN/ },
  },
  {
    what: 'with a limit of processes, on the way into the namespace',
    as: USER,
    limits: { nproc: 0 },
    netns: true,
    expected: { code: 'EAGAIN', syscall: 'pthread_create', hint: /RLIMIT_NPROC/ },
  },
  {
    what: 'with the right to enter the namespace alone, and a tap there',
    before: THEIR_TAP,
    as: WITH('sys_admin'),
    netns: true,
    expected: ioctl('TUNGETDEVNETNS', 'EPERM', /CAP_NET_ADMIN/),
  },
  {
    what: 'without a capability and without a tap',
    as: USER,
    expected: ioctl('TUNSETIFF', 'EPERM', /CAP_NET_ADMIN.*created for this user/),
  },
  {
    what: 'the interface is no tap',
    tap: { tap: 'lo' },
    expected: ioctl('TUNSETIFF', 'EINVAL', /^lo is no tap$/),
  },
  {
    what: 'the interface is no tap, in a namespace that is entered',
    long: true,
    before: 'ip tuntap add vn0 mode tun multi_queue',
    netns: true,
    expected: ioctl('TUNSETIFF', 'EINVAL', /^vn0 is no tap$/),
  },
  {
    what: 'the tap was made for several queues',
    long: true,
    before: 'ip tuntap add vn0 mode tap multi_queue',
    expected: ioctl('TUNSETIFF', 'EINVAL', /^vn0 was made with multi_queue/),
  },
  {
    what: 'no interface can have that name',
    tap: { tap: 'a:b' },
    expected: ioctl('TUNSETIFF', 'EINVAL', /^no interface can have the name a:b$/),
  },
  {
    what: 'the tap is not up, and the user may not set it up',
    before: `ip tuntap add vn0 mode tap user ${String(NOBODY)}`,
    as: USER,
    expected: netlink('RTM_SETLINK', 'EPERM', /CAP_NET_ADMIN/),
  },
  {
    what: 'the tap is to have an address, which the user may not give it',
    before: THEIR_TAP,
    as: USER,
    tap: { addresses: ['10.9.0.1/24'] },
    expected: netlink('RTM_NEWADDR', 'EPERM', /CAP_NET_ADMIN/),
  },
  {
    what: "the tap is to have a group's Ethernet address",
    long: true,
    tap: { mac: '03:00:00:00:00:01' },
    expected: netlink('RTM_SETLINK', 'EADDRNOTAVAIL', /group/),
  },
  {
    what: 'with a limit of address space',
    long: true,
    limits: { as: 256 * 2 ** 20 },
    port: { queueSize: 32768, offloads: 'auto' }, // a pool of 1 GiB
    expected: { code: 'ENOMEM', syscall: 'mmap', hint: /RLIMIT_AS/ },
  },
  {
    what: 'with a limit of open files, at the first',
    long: true,
    limits: { nofile: 0 },
    expected: open('/dev/net/tun', 'EMFILE', /ulimit -n/),
  },
  {
    what: 'with a limit of open files, in the middle',
    limits: { nofile: 4 },
    expected: { code: 'EMFILE', syscall: 'eventfd', hint: /ulimit -n/ },
  },
  {
    what: 'with a limit of processes',
    before: THEIR_TAP,
    as: USER,
    limits: { nproc: 0 },
    ...(WORKER_IS_TASK && {
      expected: ioctl('VHOST_SET_OWNER', 'ENOMEM', /RLIMIT_NPROC/),
    }),
  },
  {
    what: 'with a limit of locked memory',
    before: THEIR_TAP,
    as: USER,
    limits: { memlock: 0 },
  },
];

/** A script that runs its arguments with these nodes alone. */
function withNodes(nodes: readonly string[]): string {
  const make = nodes.map((node) => `mknod ${node}`);
  return ['mount -t tmpfs none /dev', 'mkdir /dev/net', ...make, 'exec "$@"'].join('\n');
}

describeWith(['vhost', 'tun', 'root'], 'openPort() says why it can not', () => {
  let network: TestNetwork;
  beforeEach(() => {
    network = new TestNetwork();
  });
  afterEach(() => {
    network.close();
  });

  /** What came of it; in a process of its own where that has other rights or limits than this one. */
  async function result(one: Case): Promise<object> {
    const { nodes, as, limits, netns, tap, port, before } = one;
    if (before) network.sh(before);
    const child = [nodes, as, limits].some((special) => special !== undefined);
    const name = netns === true || (!child && netns === undefined) ? network.name : netns;
    const backend = { tap: 'vn0', ...(name !== undefined && { netns: name }), ...tap };
    const options = { backend, queueSize: 64, ...port };
    return child ? inChild(one, JSON.stringify(options)) : await here(options);
  }

  async function here(options: PortOptions): Promise<object> {
    try {
      await (await openPort(options)).close();
      return {};
    } catch (error) {
      return errorFields(error);
    }
  }

  function inChild({ nodes = [TUN, VHOST], as = [], limits = {} }: Case, options: string): object {
    const child = [process.execPath, CHILD, options, JSON.stringify(limits)];
    // Mounts of its own, so that its /dev is nobody else's.
    const devices = ['--mount', 'sh', '-ec', withNodes(nodes), 'sh'];
    const text = network.exec('unshare', ...devices, 'setpriv', ...as, ...child);
    return JSON.parse(text) as object;
  }

  for (const one of CASES) {
    const { what, long, expected } = one;
    const its = long ? itLong : it;
    its(expected ? `${what}: ${expected.code}` : `and it can ${what}`, async () => {
      const found = await result(one);
      if (!expected) {
        assert.deepEqual(found, {});
        return;
      }
      const { hint, ...rest } = expected;
      const {
        name,
        code,
        syscall,
        request,
        path: place,
        ...more
      } = found as Record<string, string>;
      assert.deepEqual(
        { name, code, syscall, request, path: place },
        { name: 'VhostSystemError', request: '', path: undefined, ...rest },
      );
      assert.match(more['hint'] ?? '', hint);
      const call = [syscall, request].filter(Boolean).join(' ');
      assert.ok(more['message']?.startsWith(`${code ?? ''}: `), more['message']);
      assert.ok(more['message']?.includes(`, ${call}`), more['message']);
      assert.ok(Number(more['errno']) < 0);
    });
  }

  it('the tap is open already: EBUSY', async () => {
    using tap = Tap.open({ tap: 'vn0', netns: network.name });
    const found = (await result({ what: '' })) as Record<string, string>;
    assert.equal(tap.closed, false);
    assert.deepEqual([found['code'], found['request']], ['EBUSY', 'TUNSETIFF']);
    assert.match(found['hint'] ?? '', /another process, or another port/);
  });
});

describeWith(['vhost', 'tun', 'root'], 'what is below a port says why it can not', () => {
  const refuses = (body: () => void, { hint, ...rest }: Expected) => {
    assert.throws(body, { name: 'VhostSystemError', hint, ...rest });
  };

  it('a header size that no header has', () => {
    using tun = new Tun();
    tun.setIff('vnt%d', 0x1002 | 0x4000); // IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    refuses(
      () => {
        tun.setVnetHdrSize(9);
      },
      ioctl('TUNSETVNETHDRSZ', 'EINVAL', /at least 10 bytes/),
    );
  });

  it('a queue without an interface, whose errno Node does not know', () => {
    using tun = new Tun();
    assert.throws(() => tun.getIff(), {
      code: 'EBADFD',
      errno: -77,
      message: 'EBADFD: file descriptor in bad state, ioctl TUNGETIFF',
    });
  });

  it('a second owner, and more regions than the module takes', () => {
    using vhost = new VhostNet();
    vhost.setOwner();
    refuses(
      () => {
        vhost.setOwner();
      },
      ioctl('VHOST_SET_OWNER', 'EBUSY', /open a new one/),
    );
    const most = Number(fs.readFileSync('/sys/module/vhost/parameters/max_mem_regions', 'utf8'));
    using pages = Pages.allocate({ byteLength: 4096 });
    const row = { byteLength: 4096n, hostAddress: pages.address };
    const rows = Array.from({ length: most + 1 }, (_, i) => ({
      ...row,
      guestAddress: BigInt(i) << 12n,
    }));
    refuses(
      () => {
        vhost.setMemTable(rows);
      },
      ioctl('VHOST_SET_MEM_TABLE', 'E2BIG', /max_mem_regions/),
    );
  });

  it('a ring without memory, and a backend that is none', () => {
    using vhost = new VhostNet();
    using pages = Pages.allocate({ byteLength: 4096 });
    using eventfd = new EventFd();
    vhost.setOwner();
    const { address } = pages;
    vhost.setVringAddr(0, { desc: address, avail: address + 64n, used: address + 128n });
    refuses(
      () => {
        vhost.setBackend(0, eventfd);
      },
      ioctl('VHOST_NET_SET_BACKEND', 'EFAULT', /memory table/),
    );
    vhost.setMemTable([{ guestAddress: 0n, byteLength: 4096n, hostAddress: address }]);
    refuses(
      () => {
        vhost.setBackend(0, eventfd);
      },
      ioctl('VHOST_NET_SET_BACKEND', 'ENOTSOCK', /tap, a macvtap or a packet socket/),
    );
  });
});
