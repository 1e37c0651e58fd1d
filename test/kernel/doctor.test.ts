import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { TestNetwork } from '../support/network.js';
import { root } from '../support/packed.js';
import { describeWith, itLong } from '../support/requirements.js';
import { Tap } from '#lib/backend/tap';
import { capabilities } from '#lib/capabilities/capabilities';
import type { Capabilities, Check } from 'vhost-net';

const MAIN = path.join(root, 'dist/cli/main.js');
const DOCTOR = `'${process.execPath}' '${MAIN}' doctor --json`;

/** A user with no right to anything, who may still read the project, wherever that lies. */
const USER =
  'setpriv --reuid=65534 --regid=65534 --clear-groups ' +
  '--inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search';

const [major = 0, minor = 0] = os.release().split('.').map(Number);
const WORKER_IS_TASK = major > 6 || (major === 6 && minor >= 4);

/** Reports that a script printed, one after the other. */
function reports(text: string): Capabilities[] {
  return text
    .split(/^(?=\{$)/m)
    .filter((part) => part.startsWith('{'))
    .map((part) => JSON.parse(part) as Capabilities);
}

const find = (report: Capabilities | undefined, name: string): Check => {
  const found = report?.checks.find((one) => one.name === name);
  assert.ok(found, name);
  return found;
};

describeWith(['vhost', 'tun', 'root'], 'vhost-net doctor', function () {
  this.timeout(90_000); // a dozen programs one after the other, each of which starts a Node

  let network: TestNetwork;
  beforeEach(() => {
    network = new TestNetwork();
  });
  afterEach(() => {
    network.close();
  });

  /** What a script prints that has mounts and a network of its own. */
  function sh(script: string): string {
    return network.exec('unshare', '--mount', 'sh', '-c', script);
  }

  /** A script in which `/dev` has these nodes alone, in the form of mknod(1). */
  const withNodes = (nodes: readonly string[], script: string) =>
    [
      'set -e',
      'mount -t tmpfs none /dev',
      'mkdir /dev/net',
      ...nodes.map((n) => `mknod ${n}`),
      'set +e',
      script,
      'exit 0', // what the doctor thinks is in its report
    ].join('\n');

  const VHOST = '-m 666 /dev/vhost-net c 10 238';
  const TUN = '-m 666 /dev/net/tun c 10 200';

  /** Does what the doctor says, until it has nothing more to say of what is required. */
  function cure(nodes: readonly string[], doctor: string): [Capabilities, Capabilities] {
    const [before] = reports(sh(withNodes(nodes, doctor)));
    const remedies = before?.checks.filter(({ required, ok }) => required && !ok) ?? [];
    const follow = remedies.flatMap(({ remedy }) => (remedy === undefined ? [] : [remedy]));
    const [after] = reports(sh(withNodes(nodes, [...follow, doctor].join('\n'))));
    assert.ok(before && after);
    return [before, after];
  }

  it('finds all that the lab has, and a port can be opened', () => {
    const text = network.exec(process.execPath, MAIN, 'doctor', '--json');
    const [report] = reports(text);
    assert.equal(report?.driverMode, true);
    const { vhost, tap } = report;
    assert.ok(vhost && tap);
    const bits = vhost.features.map(({ bit }) => bit);
    assert.ok([15, 24, 26, 27, 28, 29, 32, 33].every((bit) => bits.includes(bit)));
    assert.equal(bits.includes(40), WORKER_IS_TASK);
    assert.equal(vhost.featuresArray, bits.includes(65));
    assert.equal(vhost.worker, WORKER_IS_TASK ? 'task' : 'kthread');
    assert.equal(vhost.parameters.maxMemRegions, 64);
    assert.deepEqual(tap.flags, [
      'IFF_TUN',
      'IFF_TAP',
      'IFF_NO_PI',
      'IFF_VNET_HDR',
      'IFF_MULTI_QUEUE',
    ]);
    const offloads = tap.offloads ?? [];
    assert.equal(offloads.includes('TUN_F_USO4'), WORKER_IS_TASK);
    assert.equal(offloads.includes('TUN_F_UDP_TUNNEL_GSO'), bits.includes(65));
    assert.equal(find(report, 'UDP tunnels').ok, bits.includes(65));
    assert.deepEqual(network.interfaces(), ['lo']);
  });

  it('leaves nothing behind in the process that asks', () => {
    const before = fs.readdirSync('/proc/self/fd').length;
    const { driverMode, vhost } = capabilities();
    assert.equal(driverMode, true);
    assert.equal(typeof vhost?.backendFeatures, 'bigint');
    assert.equal(fs.readdirSync('/proc/self/fd').length, before);
  });

  it('a missing tun is made', () => {
    const [before, after] = cure([VHOST], DOCTOR);
    assert.equal(before.driverMode, false);
    assert.match(find(before, '/dev/net/tun').detail, /ENOENT/);
    assert.equal(find(before, '/dev/vhost-net').ok, true);
    assert.equal(after.driverMode, true);
  });

  itLong('a missing vhost-net is made', () => {
    const [before, after] = cure([TUN], DOCTOR);
    assert.match(find(before, '/dev/vhost-net').remedy ?? '', /mknod .* \/dev\/vhost-net c 10 238/);
    assert.equal(after.driverMode, true);
  });

  it('a user without rights is given them', () => {
    const closed = [VHOST, TUN].map((node) => node.replace('666', '600'));
    const [before, between] = cure(closed, `${USER} ${DOCTOR}`);
    assert.equal(before.driverMode, false);
    assert.match(find(before, '/dev/vhost-net').detail, /EACCES/);
    assert.match(find(before, '/dev/vhost-net').remedy ?? '', /^chgrp 65534 /);
    assert.match(find(before, '/dev/net/tun').remedy ?? '', /^chmod 666 /);
    // With the nodes open, what is left is the tap.
    assert.equal(find(between, '/dev/net/tun').ok, true);
    const { detail, remedy = '' } = find(between, 'tap');
    assert.match(detail, /EPERM/);
    network.sh(remedy);
    const last = reports(
      sh(withNodes([VHOST, TUN], `mount -t sysfs none /sys; ${USER} ${DOCTOR}`)),
    );
    assert.match(find(last[0], 'tap').detail, /^vn0 is there for this user/);
    assert.equal(last[0]?.driverMode, true);
  });

  it('a module that was taken out is loaded again', function () {
    if (spawnSync('modprobe', ['-r', 'vhost_net']).status !== 0) this.skip();
    const doctor = spawnSync('sh', ['-c', DOCTOR], { encoding: 'utf8' });
    const { remedy = 'modprobe vhost_net' } = find(reports(doctor.stdout)[0], '/dev/vhost-net');
    execFileSync('sh', ['-c', remedy]);
    assert.equal(doctor.status, 1);
    assert.equal(remedy, 'modprobe vhost_net');
    assert.equal(spawnSync('sh', ['-c', DOCTOR]).status, 0);
  });

  /** What a doctor finds before and after its remedy was followed by the same shell. */
  function mended(name: string, prepare: string, run = DOCTOR): [Check, Check] {
    const first = spawnSync('sh', ['-c', `${prepare}\n${run}`], { encoding: 'utf8' });
    const before = find(reports(first.stdout)[0], name);
    // The shell that is to be mended is another one the second time.
    const remedy = (before.remedy ?? 'false').replace(/--pid \d+/, '--pid $$$$');
    const script = [prepare, remedy, run].join('\n');
    const second = spawnSync('sh', ['-c', script], { encoding: 'utf8' });
    return [before, find(reports(second.stdout)[0], name)];
  }

  /** The same of what this process sees as well as another. */
  function follow(name: string): [Check, Check] {
    const before = find(capabilities(), name);
    execFileSync('sh', ['-c', before.remedy ?? 'false']);
    return [before, find(capabilities(), name)];
  }

  it('huge pages that were forbidden are allowed', () => {
    const file = '/sys/kernel/mm/transparent_hugepage/enabled';
    const chosen = /\[(\w+)\]/.exec(fs.readFileSync(file, 'utf8'))?.[1] ?? '';
    try {
      fs.writeFileSync(file, 'never');
      const [before, after] = follow('huge pages');
      assert.match(before.detail, /transparent: never/);
      assert.equal(before.ok, false);
      assert.match(after.detail, /transparent: madvise/);
      assert.equal(after.ok, true);
    } finally {
      fs.writeFileSync(file, chosen);
    }
  });

  itLong('too few open files are made more', () => {
    const [before, after] = mended('open files', 'ulimit -n 60');
    assert.match(before.detail, /at most 60/);
    assert.equal(before.ok, false);
    assert.match(after.detail, /at most 1024/);
    assert.equal(after.ok, true);
  });

  it('a KVM that was taken out is loaded again', function () {
    if (spawnSync('modprobe', ['-r', 'kvm_amd']).status !== 0) this.skip();
    const [before, after] = follow('KVM');
    assert.match(before.detail, /^ENOENT.*\/dev\/kvm/);
    assert.equal(before.ok, false);
    assert.equal(before.remedy, 'modprobe kvm_amd');
    assert.equal(after.ok, true);
  });

  itLong('a user without the right to KVM is given it, and nobody else is', function () {
    if (!fs.existsSync('/dev/kvm')) this.skip();
    const [before, after] = mended('KVM', 'chmod 600 /dev/kvm', `${USER} ${DOCTOR}`);
    assert.match(before.detail, /EACCES/);
    assert.match(before.remedy ?? '', /^chgrp 65534 \/dev\/kvm && chmod 660 /);
    assert.equal(after.ok, true);
    assert.equal(fs.statSync('/dev/kvm').mode & 0o7, 0);
  });

  it('an Open vSwitch that does not run is started, and one that is not there is named', function () {
    const empty = `PATH=/nowhere ${DOCTOR}`;
    const missing = reports(spawnSync('sh', ['-c', empty], { encoding: 'utf8' }).stdout)[0];
    if (!fs.existsSync('/usr/bin/ovs-vsctl')) this.skip();
    assert.match(find(missing, 'Open vSwitch').detail, /no ovs-vsctl/);
    try {
      const [before, after] = follow('Open vSwitch');
      assert.match(before.detail, /its database does not run/);
      assert.match(after.detail, /its database runs/);
    } finally {
      spawnSync('/usr/share/openvswitch/scripts/ovs-ctl', ['stop']);
    }
  });

  itLong('a full limit of processes is named and lifted; a kernel thread counts in none', () => {
    const group = `/sys/fs/cgroup/${network.name}`;
    fs.writeFileSync('/sys/fs/cgroup/cgroup.subtree_control', '+pids');
    fs.mkdirSync(group);
    try {
      const threads = execFileSync(process.execPath, [
        '-p',
        "fs.readdirSync('/proc/self/task').length",
      ]);
      fs.writeFileSync(`${group}/pids.max`, threads.toString().trim());
      const inside = `echo $$ > ${group}/cgroup.procs; exec ${DOCTOR}`;
      const run = () => reports(spawnSync('sh', ['-c', inside], { encoding: 'utf8' }).stdout)[0];
      const worker = find(run(), 'worker');
      assert.equal(worker.ok, !WORKER_IS_TASK);
      if (worker.ok) return;
      assert.match(worker.detail, /ENOMEM.*is full with/);
      execFileSync('sh', ['-c', worker.remedy ?? '']);
      assert.equal(find(run(), 'worker').ok, true);
    } finally {
      fs.rmdirSync(group);
    }
  });
});

describeWith(['tun', 'root'], 'vhost-net doctor, of taps', () => {
  let network: TestNetwork;
  beforeEach(() => {
    network = new TestNetwork();
  });
  afterEach(() => {
    network.close();
  });

  const NODES = [
    'mount -t tmpfs none /dev',
    'mkdir /dev/net',
    'mknod -m 666 /dev/net/tun c 10 200',
  ];

  /** What the doctor says of the tap to a user without rights, in this network, after a script. */
  function tapFor(script: string): Check {
    const lines = [...NODES, script, `${USER} ${DOCTOR} || true`].join('\n');
    const [report] = reports(network.exec('unshare', '--mount', 'sh', '-ec', lines));
    return find(report, 'tap');
  }

  const make = (owner: string) => `ip tuntap add vn0 mode tap ${owner}; ip link set vn0 up`;

  for (const owner of ['user 65534', 'group 65534']) {
    it(`takes one that is of ${owner}`, () => {
      const { ok, detail } = tapFor(make(owner));
      assert.deepEqual(
        { ok, detail },
        { ok: true, detail: 'vn0 is there for this user, and is up' },
      );
    });
  }

  it("takes one that is nobody's where the kernel lets everybody have it, as not every kernel does", () => {
    const { ok, detail } = tapFor(make(''));
    assert.equal(ok, major < 7);
    assert.match(detail, major < 7 ? /^vn0 is there for this user, and is up$/ : /^EPERM/);
  });

  it("takes none that is another user's, or down, and makes one of another name", () => {
    const { ok, detail, remedy = '' } = tapFor(make('user 12345'));
    assert.equal(ok, false);
    assert.match(detail, /^EPERM/);
    assert.match(remedy, /^ip tuntap add vn1 mode tap user 65534 /);
    assert.equal(tapFor('ip tuntap add vn9 mode tap user 65534').ok, false);
    assert.match(tapFor(remedy).detail, /^vn1 is there/);
  });

  it('takes none that is open already, and says so', () => {
    network.sh(make('user 65534'));
    using tap = Tap.open({ tap: 'vn0', netns: network.name });
    assert.equal(tap.closed, false);
    const { ok, detail } = tapFor(':');
    assert.deepEqual(
      { ok, detail },
      {
        ok: false,
        detail: 'vn0 is open already, and there is no other',
      },
    );
  });
});

describeWith(['kvm', 'root'], 'vhost-net doctor, of KVM', () => {
  /** What the doctor says of it where `/dev` has this node alone, after a script. */
  function kvmAfter(node: string, script: string, doctor = DOCTOR): Check {
    const dev = ['mount -t tmpfs none /dev', 'mknod -m 666 /dev/null c 1 3', node, script];
    const lines = [...dev, `${doctor} || true`].join('\n');
    const text = execFileSync('unshare', ['--mount', 'sh', '-ec', lines], { encoding: 'utf8' });
    return find(reports(text)[0], 'KVM');
  }

  const NODE = 'mknod -m 660 /dev/kvm c 10 232';

  it('opens it: a node with no module behind it is none', () => {
    assert.equal(kvmAfter(NODE, ':').ok, true);
    const { ok, detail } = kvmAfter('mknod -m 666 /dev/kvm c 10 199', ':');
    assert.equal(ok, false);
    assert.match(detail, /^ENODEV/);
  });

  it('a node that is missing beside its module is made', () => {
    const { detail, remedy = 'false' } = kvmAfter(':', ':');
    assert.match(detail, /^ENOENT/);
    assert.match(remedy, /mknod -m 660 \/dev\/kvm c 10 232$/);
    assert.equal(kvmAfter(':', remedy).ok, true);
  });

  it('a node that is for a group stays so, and the user gets into that', () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'etc-'));
    for (const file of ['passwd', 'group', 'gshadow']) {
      const text = fs.existsSync(`/etc/${file}`) ? fs.readFileSync(`/etc/${file}`, 'utf8') : '';
      fs.writeFileSync(path.join(folder, file), text);
    }
    const etc = `mount --bind ${folder} /etc`;
    const node = `${etc}; groupadd -g 64999 virtual; ${NODE}; chgrp virtual /dev/kvm`;
    try {
      const user = USER.replace('--clear-groups', '--init-groups');
      const { detail, remedy = 'false' } = kvmAfter(node, ':', `${user} ${DOCTOR}`);
      assert.match(detail, /^EACCES.*for the group virtual, .*log in anew$/);
      assert.equal(remedy, 'usermod -aG virtual nobody');
      const again = kvmAfter(
        `${etc}; ${NODE}; chgrp virtual /dev/kvm`,
        remedy,
        `${user} ${DOCTOR}`,
      );
      assert.equal(again.ok, true);
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });
});
