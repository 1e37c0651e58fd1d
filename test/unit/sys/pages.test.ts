import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';

import { JOBS } from '../../support/jobs.js';

const program = path.join(__dirname, 'pages.program.js');

describe('Pages#close() under a job of Node that has a view', function () {
  this.timeout(30_000);

  for (const name of [...Object.keys(JOBS), 'net.Socket.write']) {
    it(`${name} comes to an end, and so does the process`, () => {
      const args = ['--expose-gc', program, name];
      const options = { encoding: 'utf8', timeout: 20_000 } as const;
      const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, options);
      assert.equal(status, 0, `${signal ?? ''} ${stderr}`);
      assert.match(stdout, /^(done|failed: .*)$/m);
    });
  }
});
