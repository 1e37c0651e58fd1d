import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const SCRIPT = path.join(process.cwd(), 'scripts', 'make-initrd');

/** What the script can't do without. */
const BUSYBOX = ['/bin/busybox', '/usr/bin/busybox'].some((file) => fs.existsSync(file));
const describeWithBusybox = BUSYBOX ? describe : describe.skip;

describeWithBusybox('scripts/make-initrd', () => {
  let folder: string;
  let image: string;

  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vhost-net-initrd-'));
    fs.mkdirSync(path.join(folder, 'bin'));
    fs.mkdirSync(path.join(folder, 'modules', '6.1.0'), { recursive: true });
    image = path.join(folder, 'image');
  });
  afterEach(() => {
    fs.rmSync(folder, { recursive: true });
  });

  /** Has a program do something else. */
  function fake(program: string, body: string): void {
    fs.writeFileSync(path.join(folder, 'bin', program), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  }

  function run(...options: string[]): ReturnType<typeof spawnSync> {
    const PATH = `${path.join(folder, 'bin')}:${process.env['PATH'] ?? ''}`;
    const modules = ['--modules', path.join(folder, 'modules')];
    return spawnSync(SCRIPT, [...modules, ...options, image], {
      ...{ env: { ...process.env, PATH }, encoding: 'utf8' },
    });
  }

  function fails(message: RegExp, ...options: string[]): void {
    const { status, stderr } = run(...options);
    assert.notEqual(status, 0);
    assert.match(String(stderr), message);
    assert.equal(fs.existsSync(image), false);
  }

  it('takes modules in the order of loading, each once, and programs with their libraries', () => {
    const module = path.join(folder, 'modules', 'one.ko');
    fs.writeFileSync(module, 'a module');
    fake('modprobe', `echo "insmod ${module} "`);
    fake('cpio', 'tr "\\0" "\\n"');
    const { status, stderr } = run('--module', 'one', '--module', 'two', '--program', 'sh');
    assert.equal(status, 0, String(stderr));
    const names = fs.readFileSync(image, 'utf8').split('\n');
    assert.equal(names.filter((name) => name.endsWith('one.ko')).length, 1);
    assert.ok(
      names.some((name) => /libc\.|musl/.test(name)),
      'the library of a shell',
    );
  });

  it('fails where there is no such module, and makes no image without it', () => {
    fake('modprobe', 'echo "no module $6"; exit 1');
    fails(/no module tpyo/, '--module', 'tpyo', '--module', 'virtio_net');
  });

  it('fails where a program lacks a library', () => {
    fake('ldd', 'echo "libmissing.so.1 => not found"');
    fails(/sh lacks libraries here: libmissing\.so\.1/, '--program', '/bin/sh');
  });

  for (const program of ['find', 'sort', 'cpio']) {
    it(`fails where ${program} fails`, () => {
      fake(program, 'exit 3');
      fails(/^/);
    });
  }
});
