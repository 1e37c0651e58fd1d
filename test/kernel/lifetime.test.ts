import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import { TestNetwork } from '../support/network.js';
import { describeWith, itLong } from '../support/requirements.js';

const program = path.join(__dirname, 'lifetime.program.js');

/** How an attack ends that does not end well of itself. */
function expected(attack: string): { status: number | null; signal: string | null } {
  if (attack.startsWith('exit')) return { status: 7, signal: null };
  if (attack.startsWith('an uncaught')) return { status: 1, signal: null };
  if (attack.startsWith('a signal')) return { status: null, signal: 'SIGKILL' };
  return { status: 0, signal: null };
}

/** Kernel threads that still work for a process which is gone. */
function workersOf(pid: number): string[] {
  return fs.readdirSync('/proc').filter((entry) => {
    try {
      return fs.readFileSync(`/proc/${entry}/comm`, 'utf8') === `vhost-${String(pid)}\n`;
    } catch {
      return false;
    }
  });
}

describeWith(['vhost', 'tun', 'root'], 'a port survives, and leaves nothing behind after', () => {
  let network: TestNetwork;
  beforeEach(() => {
    network = new TestNetwork();
  });
  afterEach(() => {
    network.close();
  });

  const attacks = execFileSync(process.execPath, [program], { encoding: 'utf8' })
    .trim()
    .split('\n');
  for (const attack of attacks) {
    const its = attack.startsWith('Workers') ? itLong : it;
    its(attack, () => {
      const args = ['--expose-gc', program, attack, network.name];
      const options = { encoding: 'utf8', timeout: 100_000 } as const;
      const { pid, status, signal, stderr } = spawnSync(process.execPath, args, options);
      assert.deepEqual({ status, signal }, expected(attack), stderr);
      assert.deepEqual(network.interfaces(), ['lo']);
      assert.deepEqual(workersOf(pid), []);
    }).timeout(120_000);
  }
});
