import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import { packTarball, root, tarballFiles } from '../support/packed.js';

const DOCUMENTS = ['README.md', 'LICENSE', 'CHANGELOG.md', 'SECURITY.md'];

/** Every file below a folder of the repository, by its path in the repository. */
function below(folder: string): string[] {
  return fs
    .readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)));
}

/** What the compiler makes of one source. */
function compiled(source: string): string[] {
  const stem = source.replace(/^lib/, 'dist').replace(/\.ts$/, '');
  return [`${stem}.js`, `${stem}.js.map`, `${stem}.d.ts`];
}

describe('the tarball', function () {
  this.timeout(300_000); // the first time it compiles the addon
  let tarball: string;

  before(() => {
    tarball = packTarball();
  });

  it('holds sources, what was compiled of them, and documents; no tests and no leftovers', () => {
    const sources = below('lib').filter((file) => file.endsWith('.ts'));
    const expected = [
      'package.json',
      'binding.gyp',
      'scripts/install.js',
      'prebuilds/linux-x64/vhost_net.node',
      ...sources,
      ...sources.flatMap(compiled),
      ...below('native'),
      ...DOCUMENTS.filter((file) => fs.existsSync(path.join(root, file))),
    ];
    assert.deepEqual(tarballFiles(tarball), expected.sort());
  });

  it('satisfies publint to the last suggestion', () => {
    const publint = path.join(root, 'node_modules/publint/src/cli.js');
    const report = execFileSync(process.execPath, [publint, 'run', tarball, '--strict'], {
      encoding: 'utf8',
    });
    assert.match(report, /All good/);
  });
});
