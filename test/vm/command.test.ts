import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { BOOT, guestFiles } from '../support/guest.js';
import { describeWith } from '../support/requirements.js';
import { cacheFolder } from '#lib/cache-folder';
import type { MachineStatistics } from '#lib/vmm/machine-statistics';

const COMMAND = path.join(
  path.dirname(require.resolve('vhost-net/package.json')),
  'dist/cli/main.js',
);

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What is waited for on either stream, and what is typed then. */
type Step = readonly [heard: string, typed: string];

const command = (...args: string[]) => {
  const { kernel, initrd } = guestFiles('6.1-cloud');
  const files = ['--kernel', kernel, '--initrd', initrd, '--memory', '128'];
  return [process.execPath, COMMAND, 'vm', ...files, ...args];
};

/** Runs a program to its end, and types as it goes. */
async function run(
  [program = '', ...args]: string[],
  steps: readonly Step[],
  env = process.env,
): Promise<Ended> {
  const child = spawn(program, args, { env });
  const waiting = [...steps];
  let stdout = '';
  let stderr = '';
  const hear = () => {
    const [heard, typed] = waiting[0] ?? [];
    if (heard === undefined || !(stdout + stderr).includes(heard)) return;
    child.stdin.write(typed);
    waiting.shift();
  };
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
    hear();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    hear();
  });
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}

const READY = 'guest-is-ready';

describeWith(['kvm', 'vhost', 'tun', 'root'], 'vhost-net vm', () => {
  it("has the guest's console on its streams, and the guest's exit status", async () => {
    const { status, stdout, stderr } = await run(command(), [[READY, 'uname -r; exit 9\n']]);
    assert.match(stdout, /-cloud-amd64/);
    assert.equal(stderr, '');
    assert.equal(status, 9);
  }).timeout(BOOT);

  it('keeps the code that was compiled for the next time, once', async () => {
    const cache = fs.mkdtempSync(path.join(os.tmpdir(), 'kept-'));
    fs.symlinkSync(path.join(cacheFolder(), 'vmlinux'), path.join(cache, 'vmlinux'));
    const place = path.join(cache, `code-${String(process.geteuid?.())}`, 'vm');
    const env = { ...process.env, VHOST_NET_CACHE: cache };
    const ended = async () => {
      await run(command(), [[READY, 'exit 0\n']], env);
      return fs.statSync(place);
    };
    try {
      assert.equal((await run(command('--memory', '32'), [], env)).status, 1);
      assert.ok(!fs.existsSync(place));
      const first = await ended();
      assert.ok(first.size > 200_000, String(first.size));
      assert.equal((await ended()).ino, first.ino);
    } finally {
      fs.rmSync(cache, { recursive: true });
    }
  }).timeout(3 * BOOT);

  it('gives the guest its tap, and tells what was counted as JSON, apart from the console', async () => {
    const args = ['--tap', 'vmc%d', '--mac', '02:00:00:00:00:07', '--json'];
    const steps: Step[] = [[READY, 'cat /sys/class/net/eth0/address; exit 0\n']];
    const { status, stdout, stderr } = await run(command(...args), steps);
    assert.match(stderr, /02:00:00:00:00:07/);
    const report = JSON.parse(stdout) as MachineStatistics & { reason: string };
    assert.equal(report.reason, 'exit');
    assert.equal(report.cycles, 1);
    assert.equal(report.net[0]?.mac, '02:00:00:00:00:07');
    assert.ok((report.exits['io'] ?? 0) > 0);
    assert.equal(status, 0);
  }).timeout(BOOT);

  it('leaves Ctrl-C to the guest, is left by Ctrl-A x, and gives the terminal back as it was', async () => {
    const words = `stty; ${command().join(' ')}; echo status $?; stty`;
    const { status, stdout } = await run(
      ['script', '-qec', words, '/dev/null'],
      [
        [READY, '\x03\necho still-"here"\n'],
        ['still-here', '\x01x'],
      ],
    );
    const [before = '', after = ''] = stdout.split(/status 0\r\n/);
    assert.equal(status, 0);
    assert.match(before, /still-here/);
    assert.match(after, /^speed .* baud/);
    assert.ok(before.startsWith(after), `${before} / ${after}`);
  }).timeout(BOOT);
});
