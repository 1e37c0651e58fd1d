import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

import { temporaryFolder } from '../../support/packed.js';
import type { Capabilities } from '#lib/capabilities/capabilities';
import type { Check } from '#lib/capabilities/check';
import { toText } from '#lib/cli/doctor';
import { featureBits } from '#lib/uapi/features';

const root = path.dirname(require.resolve('vhost-net/package.json'));
const MAIN = path.join(root, 'dist/cli/main.js');

/** The command, in this environment and more. */
function command(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const options = { encoding: 'utf8', env: { ...process.env, ...env } } as const;
  return spawnSync(process.execPath, [MAIN, ...args], options);
}

describe('vhost-net doctor', () => {
  it('says as JSON what it says for people, and ends accordingly', () => {
    const { status, stdout, stderr } = command(['doctor', '--json']);
    assert.equal(stderr, '');
    const report = JSON.parse(stdout) as Capabilities;
    const lacks = report.checks.filter(({ required, ok }) => required && !ok);
    assert.equal(report.driverMode, lacks.length === 0);
    assert.equal(status, report.driverMode ? 0 : 1);
    assert.ok(report.checks.every(({ name, detail }) => name !== '' && detail !== ''));
    const text = command(['doctor']);
    assert.equal(text.status, status);
    for (const { name, ok } of report.checks) {
      assert.ok(text.stdout.includes(`${ok ? 'yes' : 'NO '}  ${name}`), name);
    }
  });

  it('says which capabilities are in force', function () {
    if (process.getuid?.() !== 0) this.skip();
    const drop = ['--inh-caps=-all,+net_raw', '--bounding-set=-all,+net_raw'];
    const options = { encoding: 'utf8' } as const;
    const args = [...drop, process.execPath, MAIN, 'doctor', '--json'];
    const { checks } = JSON.parse(spawnSync('setpriv', args, options).stdout) as Capabilities;
    const rights = checks.filter(({ name }) => name.startsWith('CAP_'));
    assert.deepEqual(
      rights.map(({ name, ok }) => [name, ok]),
      [
        ['CAP_NET_ADMIN', false],
        ['CAP_NET_RAW', true],
        ['CAP_SYS_ADMIN', false],
        ['CAP_SYS_NICE', false],
      ],
    );
  });

  it('speaks also where the addon can not be loaded', () => {
    const { status, stdout } = command(['doctor', '--json'], { VHOST_NET_ADDON: '/no/such/addon' });
    assert.equal(status, 1);
    const { driverMode, checks } = JSON.parse(stdout) as Capabilities;
    assert.equal(driverMode, false);
    assert.deepEqual(
      checks.map(({ name, ok, remedy }) => ({ name, ok, remedy })),
      [{ name: 'addon', ok: false, remedy: 'npm rebuild vhost-net' }],
    );
    assert.match(checks[0]?.detail ?? '', /\/no\/such\/addon: no such file/);
    const text = command(['doctor'], { VHOST_NET_ADDON: '/no/such/addon' });
    assert.match(text.stdout, /NO {3}addon[^]*as root: npm rebuild[^]*can not work here yet/);
  });
});

describe('vhost-net doctor, for people', () => {
  it('has every parameter of the modules, and everything that vhost-net offers', () => {
    const parameters = {
      maxMemRegions: 509,
      maxIotlbEntries: 2048,
      forkFromOwnerDefault: false,
      zeroCopyTransmit: undefined,
    };
    const features = featureBits(1n << 35n);
    const offered = { features, featuresArray: true, forkFromOwner: true, backendFeatures: 2n };
    const vhost = { ...offered, worker: 'kthread' as const, parameters };
    const lines = toText({ driverMode: true, checks: [], vhost }).split('\n');
    assert.deepEqual(lines, [
      'vhost-net offers',
      '   35  VIRTIO_F_IN_ORDER: buffers are used in the order they are offered',
      '  features of more than 64 bits: yes',
      '  backend features: 0x2',
      '  its worker: kthread; may be chosen: yes',
      '  max_mem_regions: 509',
      '  max_iotlb_entries: 2048',
      '  fork_from_owner_default: false',
      '  experimental_zcopytx: not said',
      '',
      'Driver mode can work here.',
    ]);
  });
});

describe('vhost-net doctor, of limits', () => {
  /** What a shell with few open files is told to run, which starts the doctor as a script says. */
  function remedy(script: string): string {
    const lines = `ulimit -n 60; echo $$; ${script} | grep prlimit; true`;
    const env = { ...process.env, NODE: process.execPath, MAIN, npm_lifecycle_event: undefined };
    const { stdout } = spawnSync('sh', ['-c', lines], { encoding: 'utf8', env });
    const [shell = '', found = ''] = stdout.trim().split('\n');
    return found.trim().replace(`--pid ${shell}`, '--pid SHELL');
  }

  it('raises those of the shell that it was started in', () => {
    assert.equal(remedy('"$NODE" "$MAIN" doctor'), 'as root: prlimit --nofile=1024 --pid SHELL');
  });

  it('raises those of the shell in which npx was started, which is not there any more later', () => {
    // As npx does it: named by its command, and with a shell of its own.
    const npx = `process.title = 'npm exec vhost-net doctor';
      require('node:child_process').spawnSync('sh', ['-c', '"$NODE" "$MAIN" doctor; true'],
        { env: { ...process.env, npm_lifecycle_event: 'npx' }, stdio: 'inherit' })`;
    const script = `"$NODE" -e "${npx.replace(/["$]/g, '\\$&')}"`;
    assert.equal(remedy(script), 'as root: prlimit --nofile=1024 --pid SHELL');
  });
});

describe('vhost-net doctor, of Open vSwitch', () => {
  /** What is said of it where its sockets are in this folder. */
  function openVSwitch(folder: string): Check | undefined {
    const { stdout } = command(['doctor', '--json'], { OVS_RUNDIR: folder });
    return (JSON.parse(stdout) as Capabilities).checks.find(({ name }) => name === 'Open vSwitch');
  }

  it('does not take the socket of a database that was killed for one that runs', function () {
    if (spawnSync('ovs-vsctl', ['--version']).status !== 0) this.skip();
    const folder = temporaryFolder();
    const socket = path.join(folder, 'db.sock');
    const script = `require('net').createServer().listen(${JSON.stringify(socket)},
      () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    assert.ok(fs.existsSync(socket));
    const found = openVSwitch(folder);
    assert.equal(found?.ok, false);
    assert.match(found.detail, /its database does not run$/);
  });
});

describe('vhost-net doctor, of a worker that could not be made', () => {
  /** What is said of it to somebody with this limit of processes. */
  function failure(user: string): { detail: string; remedy?: string } {
    const modules = ['#lib/capabilities/vhost', '#lib/errors'].map((name) => {
      return `require(${JSON.stringify(createRequire(__filename).resolve(name))})`;
    });
    const script = `
      const [{ workerFailure }, { VhostSystemError }] = [${modules.join(', ')}];
      const error = new VhostSystemError(12, 'ioctl', 'VHOST_SET_OWNER');
      // Only now: Node's own threads count.
      require('child_process').spawnSync('prlimit', ['--nproc=1', '--pid', String(process.pid)]);
      ${user}
      console.log(JSON.stringify(workerFailure(error)));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
    assert.equal(stderr, '');
    return JSON.parse(stdout) as { detail: string; remedy?: string };
  }

  it('does not blame a limit of processes that does not hold for who asks', function () {
    if (process.getuid?.() !== 0) this.skip();
    const { detail, remedy } = failure('');
    assert.match(detail, /^ENOMEM/);
    assert.doesNotMatch(detail, /RLIMIT_NPROC is/);
    assert.equal(remedy, undefined);
  });

  it('blames it where nothing else can be started either', function () {
    if (process.getuid?.() !== 0) this.skip();
    const { detail, remedy = '' } = failure('process.setuid(65534);');
    assert.match(detail, /RLIMIT_NPROC is 1$/);
    assert.match(remedy, /^prlimit --nproc=unlimited --pid \d+$/);
  });
});

describe('vhost-net', () => {
  it('explains itself, and what it does not know', () => {
    for (const args of [['--help'], ['doctor', '--help'], ['trace', '--help']]) {
      const { status, stdout } = command(args);
      assert.equal(status, 0);
      assert.match(stdout, /^usage: vhost-net COMMAND/);
    }
    for (const args of [[], ['frobnicate'], ['doctor', '--yaml']]) {
      const { status, stderr } = command(args);
      assert.equal(status, 2);
      assert.match(stderr, /^vhost-net: .*\n\nusage: /);
    }
  });
});
