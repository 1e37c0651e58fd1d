import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import { root } from '../../support/packed.js';

const TABLES = path.join(root, 'docs/kernels.md');

describe('scripts/test-tiers.js', () => {
  it('writes no tables of a run that failed', () => {
    const before = fs.readFileSync(TABLES, 'utf8');
    try {
      const args = ['scripts/test-tiers.js', '--tables', '--only=no-such-test', 'unit'];
      const { status, stdout } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
      assert.equal(status, 1);
      assert.match(stdout, /docs\/kernels\.md stays as it was: tests failed\n/);
      assert.match(stdout, /\n0 passed, 1 failed, 0 skipped\n$/);
      assert.equal(fs.readFileSync(TABLES, 'utf8'), before);
    } finally {
      fs.writeFileSync(TABLES, before);
    }
  });
});
