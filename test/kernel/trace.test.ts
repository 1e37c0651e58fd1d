import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';

import { root } from '../support/packed.js';
import { allWorkers } from '../support/process-state.js';
import { describeWith, itLong } from '../support/requirements.js';
import type { TraceReport } from '#lib/trace/report';

const MAIN = path.join(root, 'dist/cli/main.js');
/** Each run is two processes, and some tests are three runs. */
const LONG = 120_000;

const TRACEFS = '/sys/kernel/tracing';

/** In a mount namespace of its own: tracefs is mounted, or nowhere. */
const WITH = `test -d ${TRACEFS}/instances || mount -t tracefs tracefs ${TRACEFS}`;
const WITHOUT = `umount ${TRACEFS} /sys/kernel/debug`;

/** A user, who may still read the project wherever that lies, with these rights besides. */
const user = (...rights: string[]) => {
  const caps = ['dac_read_search', ...rights].map((right) => `+${right}`).join();
  return `setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all,${caps} --ambient-caps=-all,${caps}`;
};

/** The two devices, open to everybody. */
const NODES = [
  'mount -t tmpfs none /dev && mkdir /dev/net',
  'mknod -m 666 /dev/vhost-net c 10 238; mknod -m 666 /dev/net/tun c 10 200; mknod -m 666 /dev/null c 1 3',
].join('\n');

/** What may not stay: threads of vhost, taps, instances. */
function leftovers(): string[] {
  const folder = `${TRACEFS}/instances`;
  return [
    ...allWorkers(),
    ...fs.readdirSync('/sys/class/net').filter((name) => name.startsWith('vnt')),
    ...(fs.existsSync(folder) ? fs.readdirSync(folder) : []),
  ];
}

/** What is still there of instances, to be complained about. */
const LIST = `ls ${TRACEFS}/instances >&2`;

/** Step 3 is the zero of all times, which grow. */
function checkTimes(times: readonly number[]): void {
  assert.equal(times[2], 0);
  const inOrder = times.every((time, i) => time >= (times[i - 1] ?? -Infinity));
  assert.ok(inOrder, times.join());
}

/** The reply is the request with its addresses exchanged. */
function checkFrames({ request = '', reply = '' }: TraceReport): void {
  const [sent, back] = [Buffer.from(request, 'hex'), Buffer.from(reply, 'hex')];
  assert.deepEqual(back.subarray(0, 6), sent.subarray(6, 12));
  assert.deepEqual(back.subarray(30, 34), sent.subarray(26, 30));
  assert.deepEqual(back.subarray(42), sent.subarray(42));
  assert.equal(sent.subarray(42).toString(), 'one frame, step by step');
}

describeWith(['vhost', 'tun', 'root'], 'vhost-net trace', () => {
  let before: string[];
  beforeEach(() => {
    before = leftovers();
  });
  afterEach(() => {
    assert.deepEqual(leftovers(), before);
  });

  /** Runs a script in which `$TRACE` is the command. */
  function run(script: string) {
    const env = { ...process.env, TRACE: `${process.execPath} ${MAIN} trace` };
    return spawnSync('unshare', ['--mount', 'sh', '-c', script], { encoding: 'utf8', env });
  }

  it('observes all ten steps, one after the other, and the same bytes on both ways', () => {
    const { status, stdout, stderr } = run(`${WITH}; $TRACE --json; S=$?; ${LIST}; exit $S`);
    assert.equal(stderr, '');
    const report = JSON.parse(stdout) as TraceReport;
    assert.deepEqual(
      report.steps.flatMap(({ missing }) => missing),
      [],
    );
    assert.deepEqual(
      report.steps.map(({ step, observed }) => [step, observed]),
      Array.from({ length: 10 }, (_, i) => [i + 1, true]),
    );
    assert.equal(report.observed, true);
    assert.equal(status, 0);
    assert.match(report.worker?.name ?? '', /^vhost-\d+$/);
    checkTimes(report.steps.map(({ microseconds }) => microseconds ?? NaN));
    checkFrames(report);
  }).timeout(LONG);

  it('says it to people', () => {
    const { status, stdout } = run(`${WITH}; $TRACE`);
    assert.equal(status, 0);
    assert.match(
      stdout,
      /^Linux .*, Node v.*\. One frame through vnt\d+; microseconds since step 3/,
    );
    assert.match(stdout, /\n 3\. In\n +0\.0 {2}kernel {2}\S+-\d+ on CPU \d+ hands vnt\d+ a frame/);
    assert.match(stdout, /vhost-\d+-\d+ on CPU \d+ copies skb \S+ out, 65 bytes\n/);
    assert.match(stdout, /\nAll ten steps were observed\.\n$/);
  }).timeout(LONG);

  itLong('without tracefs tells what the process alone can see, and what mounts it', () => {
    const { status, stdout } = run(`${WITHOUT}; $TRACE --json`);
    assert.equal(status, 1);
    const { steps } = JSON.parse(stdout) as TraceReport;
    const unseen = steps.filter(({ observed }) => !observed);
    assert.deepEqual(
      unseen.map(({ step }) => step),
      [2, 3, 4, 5, 9, 10],
    );
    const why = `tracefs is not mounted; as root: mount -t tracefs tracefs ${TRACEFS}`;
    for (const { missing } of unseen) assert.ok(missing.every((text) => text.endsWith(why)));
    const memory = steps.flatMap(({ seen }) => seen.filter(({ source }) => source === 'memory'));
    assert.equal(memory.length, 9);
  }).timeout(LONG);

  itLong('says which right is missing: for a namespace, for the devices, for tracefs', () => {
    const none = run(`${user()} $TRACE`);
    assert.equal(none.status, 1);
    assert.match(none.stderr, /CAP_SYS_ADMIN|EACCES/);
    const devices = run(`chmod 600 /dev/vhost-net; ${user('sys_admin', 'net_admin')} $TRACE`);
    assert.equal(devices.status, 1);
    assert.match(devices.stderr, /^vhost-net: EACCES.*\n(.*\n)*vhost-net doctor says/);
    const tracefs = run(`${WITH}; ${NODES}; ${user('sys_admin', 'net_admin')} $TRACE --json`);
    assert.equal(tracefs.status, 1);
    const { steps } = JSON.parse(tracefs.stdout) as TraceReport;
    assert.match(steps[2]?.missing[0] ?? '', /EACCES: .*; as root: vhost-net trace$/);
  }).timeout(LONG);

  itLong('ends with an error when the frame does not come back in time', () => {
    const { status, stdout, stderr } = run(`${WITH}; $TRACE --timeout 0.001`);
    assert.equal(status, 1);
    assert.match(stderr, /^vhost-net: the frame did not come back within 0\.001 s\n$/);
    assert.match(stdout, /\n\d of ten steps were observed\.\n$/);
  }).timeout(LONG);

  for (const [signal, expected] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    itLong(`ends on ${signal} while the port is open, and leaves nothing`, async () => {
      const env = { ...process.env, NODE_DEBUG: 'vhost-net' };
      const command = spawn(process.execPath, [MAIN, 'trace', '--json'], {
        stdio: ['ignore', 'ignore', 'pipe'],
        env,
      });
      const ended = once(command, 'close');
      let printed = '';
      for await (const chunk of command.stderr) {
        printed += String(chunk);
        if (printed.includes('VHOST_SET_OWNER')) command.kill(signal);
      }
      assert.deepEqual(await ended, [expected, null]);
      assert.match(printed, new RegExp(`port vnt\\d+: closed\n.*ended by ${signal}`));
    }).timeout(LONG);
  }
});
