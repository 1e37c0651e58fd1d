import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import { packTarball, root, temporaryFolder } from '../support/packed.js';
import { install, projectEnvironment } from '../support/project.js';

/** In a main thread and in a Worker: what is exported, and whether the addon works. */
const USE = `
  const { EventFd, VhostError } = vhost;
  const eventfd = new EventFd();
  eventfd.signal();
  const ok = eventfd.drain() === 1 && new VhostError('x', 'y') instanceof Error;
  eventfd.close();
`;

/** Everything but the project and npm's cache made read-only, and no right outside a user namespace. */
const FENCE = ['--map-root-user', '--mount'];
const FENCED = `
  mount --bind "$PWD" "$PWD"
  mount --bind "$npm_config_cache" "$npm_config_cache"
  mount -o remount,bind,ro /
  cd "$PWD"
  if touch /etc/vhost-net-test; then exit 99; fi
  npm install "$0"`;
const unfenced = spawnSync('unshare', [...FENCE, 'true']).status !== 0;

describe('npm install', function () {
  this.timeout(300_000);
  const why = unfenced ? ' [no user namespaces]' : '';

  (unfenced ? it.skip : it)(`writes nowhere but in the project, and needs no right${why}`, () => {
    const project = temporaryFolder();
    fs.writeFileSync(path.join(project, 'package.json'), '{ "private": true }');
    const options = {
      cwd: project,
      env: { ...projectEnvironment(project), TMPDIR: project },
      encoding: 'utf8',
    } as const;
    const args = [...FENCE, 'sh', '-ec', FENCED, packTarball()];
    const { status, stderr } = spawnSync('unshare', args, options);
    assert.equal(status, 0, stderr);
    const use = "console.log(typeof require('vhost-net').openPort)";
    assert.equal(execFileSync(process.execPath, ['-e', use], options), 'function\n');
  });
});

describe('the installed package', function () {
  this.timeout(300_000); // the first time it compiles the addon
  let project: string;

  before(() => {
    project = temporaryFolder();
    install(project, [packTarball()]);
  });

  const run = (file: string, text: string, env: NodeJS.ProcessEnv = {}) => {
    fs.writeFileSync(path.join(project, file), text);
    const { PATH } = process.env;
    return spawnSync(process.execPath, [file], {
      cwd: project,
      encoding: 'utf8',
      env: { PATH, HOME: project, ...env },
    });
  };

  const prints = (file: string, text: string, expected: string) => {
    const { stdout, stderr } = run(file, text);
    assert.equal(stderr, '');
    assert.equal(stdout.trim(), expected);
  };

  it('compiles nothing where the addon it carries fits', () => {
    const installed = path.join(project, 'node_modules/vhost-net');
    assert.ok(fs.existsSync(path.join(installed, 'prebuilds/linux-x64/vhost_net.node')));
    assert.equal(fs.existsSync(path.join(installed, 'build')), false);
  });

  it('has the command, which speaks on any machine', () => {
    const command = path.join(project, 'node_modules/.bin/vhost-net');
    const { status, stdout } = spawnSync(command, ['doctor', '--json'], { encoding: 'utf8' });
    const { driverMode } = JSON.parse(stdout) as { driverMode: boolean };
    assert.equal(status, driverMode ? 0 : 1);
  });

  it('brings only what it needs at run time', () => {
    const names = fs
      .readdirSync(path.join(project, 'node_modules'))
      .filter((name) => !name.startsWith('.'));
    const { dependencies } = JSON.parse(
      fs.readFileSync(path.join(root, 'package.json'), 'utf8'),
    ) as {
      dependencies: Record<string, string>;
    };
    // bindings has one dependency of its own.
    assert.deepEqual(
      names.sort(),
      ['vhost-net', 'file-uri-to-path', ...Object.keys(dependencies)].sort(),
    );
  });

  it('works from CommonJS', () => {
    prints('use.cjs', `const vhost = require('vhost-net'); ${USE} console.log(ok);`, 'true');
  });

  it('works from an ES module, by name and as a namespace', () => {
    const text = `import { openPort } from 'vhost-net'; import * as vhost from 'vhost-net'; ${USE}
      console.log(ok && vhost.openPort === openPort);`;
    prints('use.mjs', text, 'true');
  });

  it('works in several Workers at once and in the main thread after them', () => {
    const text = `
      const { Worker, isMainThread, parentPort } = require('node:worker_threads');
      const vhost = isMainThread ? undefined : require('vhost-net');
      if (!isMainThread) { ${USE} parentPort.postMessage(ok); return; }
      const answer = () => new Promise((resolve, reject) =>
        new Worker(__filename).on('message', resolve).on('error', reject));
      Promise.all([answer(), answer(), answer()]).then((answers) =>
        console.log(answers.join(), typeof require('vhost-net').openPort));`;
    prints('worker.cjs', text, 'true,true,true function');
  });

  it('keeps its rooms to itself', () => {
    const { stderr } = run('deep.cjs', "require('vhost-net/dist/native.js')");
    assert.match(stderr, /ERR_PACKAGE_PATH_NOT_EXPORTED/);
  });

  describe('when the addon cannot be loaded', () => {
    let broken: string;
    let addon: string;

    beforeEach(() => {
      broken = temporaryFolder();
      fs.cpSync(path.join(project, 'node_modules'), path.join(broken, 'node_modules'), {
        recursive: true,
      });
      addon = path.join(broken, 'node_modules/vhost-net/prebuilds/linux-x64/vhost_net.node');
    });

    /** The message with which loading fails. */
    function failure(): string {
      const script = `try { require('vhost-net') } catch (e) { console.log(e.code + ' ' + e.message) }`;
      const text = execFileSync(process.execPath, ['-e', script], {
        cwd: broken,
        encoding: 'utf8',
      });
      assert.match(text, /^ERR_VHOST_ADDON_LOAD .* linux-x64, Node v\d+/);
      assert.ok(text.includes(`tried ${addon}`), text);
      assert.match(text, /build\/Release\/vhost_net\.node: no such file/);
      return text;
    }

    it('says that there is none, and how to get one where npm blocks install scripts', () => {
      fs.rmSync(addon);
      const text = failure();
      assert.match(text, /carries no addon for this platform/);
      assert.match(text, /npm approve-scripts vhost-net && npm rebuild vhost-net/);
    });

    it('says that it was made for another C library', () => {
      const bytes = fs.readFileSync(addon);
      bytes.write('GLIBC_9.99', bytes.indexOf('GLIBC_2.28'));
      fs.writeFileSync(addon, bytes);
      assert.match(
        failure(),
        /version `GLIBC_9\.99' not found[^]*another C library[^]*npm rebuild/,
      );
    });

    it('says that it was made for another processor', () => {
      const bytes = fs.readFileSync(addon);
      bytes.writeUInt16LE(183, 18); // e_machine: EM_AARCH64
      fs.writeFileSync(addon, bytes);
      assert.match(failure(), /another processor[^]*npm rebuild/);
    });

    it('says that the file itself is no good', () => {
      fs.writeFileSync(
        addon,
        'no addon at all, but long enough to be looked at as one. '.repeat(10),
      );
      const text = failure();
      assert.match(text, /invalid ELF header[^]*complete/);
      assert.doesNotMatch(text, /npm rebuild/);
    });

    it('takes one that was compiled on the spot before the one that the package carries', () => {
      const compiled = path.join(broken, 'node_modules/vhost-net/build/Release/vhost_net.node');
      fs.mkdirSync(path.dirname(compiled), { recursive: true });
      fs.renameSync(addon, compiled);
      fs.writeFileSync(addon, 'not to be looked at');
      const use = `const vhost = require('vhost-net'); ${USE} console.log(ok)`;
      const text = execFileSync(process.execPath, ['-e', use], { cwd: broken, encoding: 'utf8' });
      assert.equal(text.trim(), 'true');
    });
  });
});
