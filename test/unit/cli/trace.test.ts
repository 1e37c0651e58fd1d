import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';

import { traceOptions } from '#lib/cli/trace';

const root = path.dirname(require.resolve('vhost-net/package.json'));
const MAIN = path.join(root, 'dist/cli/main.js');

describe('vhost-net trace', () => {
  it('takes its options', () => {
    assert.deepEqual(traceOptions([]), { json: false, timeout: 10 });
    assert.deepEqual(traceOptions(['--json', '--timeout', '0.5']), { json: true, timeout: 0.5 });
  });

  it('refuses wrong ones by name', () => {
    const wrong = [
      [['--yaml'], /'--yaml'/],
      [['vn0'], /'vn0'/],
      [['--json=1'], /'--json'/],
      [['--timeout'], /'--timeout/],
      ...['0', '-1', 'soon', '', ' ', '3601', 'NaN'].map((value) => [
        [`--timeout=${value}`],
        /^vhost-net: trace: --timeout takes seconds/,
      ]),
    ] as [string[], RegExp][];
    for (const [args, complaint] of wrong) {
      const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'trace', ...args], {
        encoding: 'utf8',
      });
      assert.equal(status, 2, args.join(' '));
      assert.equal(stdout, '');
      assert.match(stderr, complaint);
      assert.match(stderr, /\n\nusage: vhost-net COMMAND/);
    }
  });

  it('says what it lacks where there is no program to make a namespace', () => {
    const env = { ...process.env, PATH: '/nonexistent' };
    const { status, stderr } = spawnSync(process.execPath, [MAIN, 'trace'], {
      env,
      encoding: 'utf8',
    });
    assert.equal(status, 1);
    assert.match(stderr, /^vhost-net: trace needs the program 'unshare'/);
  });
});
