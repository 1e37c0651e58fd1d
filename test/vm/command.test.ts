import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

import { BOOT, guestFiles } from '../support/guest.js';
import { describeWith } from '../support/requirements.js';
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

/** Runs the command, and types when the guest listens. */
async function vm(typed: string, ...args: string[]): Promise<Ended> {
  const { kernel, initrd } = guestFiles('6.1-cloud');
  const files = ['vm', '--kernel', kernel, '--initrd', initrd, '--memory', '128'];
  const child = spawn(process.execPath, [COMMAND, ...files, ...args]);
  let stdout = '';
  let stderr = '';
  const hear = () => {
    if (!(stdout + stderr).includes('guest-is-ready') || typed === '') return;
    child.stdin.write(typed);
    typed = '';
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

describeWith(['kvm', 'vhost', 'tun', 'root'], 'vhost-net vm', () => {
  it("has the guest's console on its streams, and the guest's exit status", async () => {
    const { status, stdout, stderr } = await vm('uname -r; exit 9\n');
    assert.match(stdout, /-cloud-amd64/);
    assert.equal(stderr, '');
    assert.equal(status, 9);
  }).timeout(BOOT);

  it('gives the guest its tap, and tells what was counted as JSON, apart from the console', async () => {
    const args = ['--tap', 'vmc%d', '--mac', '02:00:00:00:00:07', '--json'];
    const { status, stdout, stderr } = await vm(
      'cat /sys/class/net/eth0/address; exit 0\n',
      ...args,
    );
    assert.match(stderr, /02:00:00:00:00:07/);
    const report = JSON.parse(stdout) as MachineStatistics & { reason: string };
    assert.equal(report.reason, 'exit');
    assert.equal(report.cycles, 1);
    assert.equal(report.net[0]?.mac, '02:00:00:00:00:07');
    assert.ok((report.exits['io'] ?? 0) > 0);
    assert.equal(status, 0);
  }).timeout(BOOT);
});
