import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import os from 'node:os';
import path from 'node:path';

import { describeWith } from '../support/requirements.js';

const PROGRAM = path.resolve(__dirname, '../../scripts/demo.d/main.js');

function start(...args: string[]) {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const demo = { child, output: '' };
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (demo.output += chunk.toString()));
  }
  return demo;
}

function namespacesOf(pid: number | undefined): string[] {
  const names = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).split('\n');
  return names.filter((name) => name.startsWith(`vnt${String(pid)}x`));
}

describeWith(['vhost', 'tun', 'root'], 'the demo', () => {
  it('says as JSON what it measured, leaves nothing, and ends with 0', async () => {
    const demo = start('--pings', '50', '--seconds', '1');
    assert.deepEqual(await once(demo.child, 'close'), [0, null], demo.output);
    const last = JSON.parse(demo.output.trim().split('\n').at(-1) ?? '') as {
      ping: unknown;
      forward: { gbps: number };
      worker: { name: string; tid: number };
      kernel: unknown;
    };
    assert.deepEqual(last.ping, { sent: 50, received: 50 });
    assert.ok(last.forward.gbps > 0);
    assert.match(last.worker.name, /^vhost-\d+$/);
    assert.ok(last.worker.tid > 0);
    assert.equal(last.kernel, os.release());
    assert.match(demo.output, /pings +50 sent, 50 answered, 0 % lost/);
    assert.deepEqual(namespacesOf(demo.child.pid), []);
  });

  it('takes everything down at Ctrl-C', async () => {
    const demo = start('--pings', '1000000');
    while (namespacesOf(demo.child.pid).length === 0)
      await new Promise((resolve) => setImmediate(resolve));
    demo.child.kill('SIGINT');
    assert.deepEqual(await once(demo.child, 'close'), [130, null], demo.output);
    assert.deepEqual(namespacesOf(demo.child.pid), []);
  });

  it('refuses options that make no sense', async () => {
    const demo = start('--pings', 'many');
    assert.deepEqual(await once(demo.child, 'close'), [1, null]);
    assert.match(demo.output, /--pings and --seconds take a whole number/);
  });
});
