import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

import { IoctlSequences } from '../support/ioctl-sequences.js';
import { root, temporaryFolder } from '../support/packed.js';
import { Random } from '../support/random.js';
import { describeWith } from '../support/requirements.js';

const execute = promisify(execFile);

const SEQUENCES = Number(process.env['VHOST_DIFFERENTIAL_SEQUENCES'] ?? 300);
const SEED = Number(process.env['VHOST_DIFFERENTIAL_SEED'] ?? Date.now() % 2 ** 31);

/** Closing a vhost descriptor mostly waits: so many go at once. */
const PARTS = 8;

const PROGRAM = path.join(__dirname, 'differential.program.js');
const SOURCE = path.join(root, 'test/kernel/differential.c');

const title = `${String(SEQUENCES)} random sequences of ioctls (VHOST_DIFFERENTIAL_SEED=${String(SEED)})`;

describeWith(['vhost', 'tun', 'root'], title, () => {
  let folder: string;
  let program: string;

  before(() => {
    folder = temporaryFolder();
    program = path.join(folder, 'differential');
    execFileSync('cc', ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-o', program, SOURCE]);
  });

  /** What a program made of a file, line by line. In a network of its own: it makes a tap. */
  async function run(command: readonly string[], file: string): Promise<string[]> {
    const options = { maxBuffer: 2 ** 30 };
    const { stdout } = await execute('unshare', ['--net', ...command, file], options);
    return stdout.trim().split('\n');
  }

  /** Counts of what came of ioctls, by request and errno, the same on both sides. */
  async function compare(part: number): Promise<Map<string, number>> {
    const file = path.join(folder, `sequences${String(part)}`);
    const text = new IoctlSequences(new Random(SEED + part)).text(Math.ceil(SEQUENCES / PARTS));
    fs.writeFileSync(file, text);
    const lines = text.trim().split('\n');
    const [ours, theirs] = await Promise.all([
      run([process.execPath, PROGRAM], file),
      run([program], file),
    ]);
    const differs = lines.findIndex((_, i) => ours[i] !== theirs[i]);
    if (differs !== -1) assert.fail(difference(lines, differs, ours, theirs));
    assert.equal(ours.length, lines.length);
    return count(lines, theirs);
  }

  function difference(lines: string[], at: number, ours: string[], theirs: string[]): string {
    const begin = lines.lastIndexOf('#', at);
    const sequence = lines
      .slice(begin, at + 1)
      .map((line, i) => `${line} -> ${theirs[begin + i] ?? ''}`);
    return `the package says ${ours[at] ?? 'nothing'}, C ${theirs[at] ?? 'nothing'}:\n${sequence.join('\n')}`;
  }

  function count(lines: readonly string[], answers: readonly string[]): Map<string, number> {
    const counts = new Map<string, number>();
    lines.forEach((line, i) => {
      const key = `${line.split(' ')[0] ?? ''} ${answers[i]?.split(' ')[0] ?? ''}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    });
    return counts;
  }

  it('give the same through this package as through C', async function () {
    this.timeout(900_000);
    const parts = await Promise.all(Array.from({ length: PARTS }, (_, part) => compare(part)));
    const total = new Map<string, number>();
    for (const [key, n] of parts.flatMap((counts) => [...counts])) {
      total.set(key, (total.get(key) ?? 0) + n);
    }
    // Rings that were really started, and asked for what may not be while they run; else not much was
    // compared.
    for (const key of ['backend 0', 'num 16']) {
      assert.ok(
        (total.get(key) ?? 0) > SEQUENCES / 100,
        `few ${key}: ${JSON.stringify([...total])}`,
      );
    }
  });
});
