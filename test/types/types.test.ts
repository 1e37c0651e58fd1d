import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import { packTarball, root, temporaryFolder, unpackInto } from '../support/packed.js';

const CONSUMER = path.join(root, 'test/types/consumer');

/** As strict as a careful user is: the package's own declarations are checked as well. */
const STRICT = {
  target: 'ES2022',
  lib: ['ES2022'],
  types: ['node'],
  strict: true,
  noEmit: true,
  skipLibCheck: false,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
};

describe('the types of the packed package', function () {
  this.timeout(120_000);
  let project: string;

  before(() => {
    project = temporaryFolder();
    unpackInto(project, packTarball());
    for (const name of ['@types/node', 'undici-types']) {
      const link = path.join(project, 'node_modules', name);
      fs.mkdirSync(path.dirname(link), { recursive: true });
      fs.symlinkSync(path.join(root, 'node_modules', name), link);
    }
    fs.cpSync(CONSUMER, project, { recursive: true });
  });

  function compile(files: readonly string[], options: object): void {
    const config = { compilerOptions: { ...STRICT, ...options }, files };
    fs.writeFileSync(path.join(project, 'tsconfig.json'), JSON.stringify(config));
    const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
    const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, '-p', project], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stdout + stderr);
  }

  const node16 = { module: 'node16', moduleResolution: 'node16' };

  it('compile from CommonJS', () => {
    compile(['right.cts'], node16);
  });

  it('compile from an ES module', () => {
    compile(['right.mts'], { module: 'nodenext', moduleResolution: 'nodenext' });
  });

  it('compile for a bundler', () => {
    compile(['right.mts'], { module: 'esnext', moduleResolution: 'bundler' });
  });

  it('refuse what is wrong, each line of it', () => {
    compile(['wrong.mts'], node16);
  });
});
