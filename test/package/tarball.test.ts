import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import { packTarball, root, tarballFiles } from '../support/packed.js';

const DOCUMENTS = ['README.md', 'LICENSE', 'CHANGELOG.md', 'SECURITY.md'];

/** `npm run docs` writes its pages below `docs` as well. */
const GENERATED = 'docs/api/';

/** Where a text links to, if not to another site: the file, and the heading in it. */
function links(text: string): [file: string, heading?: string][] {
  const targets = Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, target = '']) => target);
  return targets
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => target.split('#', 2) as [string, string?]);
}

/** The anchors of a text's headings, as GitHub and npm's site make them. */
function anchors(text: string): string[] {
  const headings = Array.from(text.matchAll(/^#+ (.*)$/gm), ([, heading = '']) => heading);
  return headings.map((heading) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

/** Every file below a folder of the repository, by its path in the repository. */
function below(folder: string): string[] {
  return fs
    .readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)));
}

/** Where the types of one source are. */
const typesOf = (source: string): string =>
  source.replace(/^lib/, 'dist').replace(/\.ts$/, '.d.ts');

/** What programs and people name, and what it is made of. */
function bundled(): string[] {
  const entries = ['index', 'cli/main', 'cli/vm', 'trace/inside'].map((name) => `dist/${name}.js`);
  return [...entries, ...entries.map((file) => `${file}.map`), ...below('dist/chunks')];
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
      'scripts/make-initrd',
      'prebuilds/linux-x64/vhost_net.node',
      ...sources,
      ...sources.map(typesOf),
      ...bundled(),
      ...below('native'),
      ...below('docs').filter((file) => !file.startsWith(GENERATED)),
      ...below('examples'),
      ...DOCUMENTS.filter((file) => fs.existsSync(path.join(root, file))),
    ];
    assert.deepEqual(tarballFiles(tarball), expected.sort());
  });

  it('links only to files and headings that it holds', () => {
    const files = tarballFiles(tarball);
    const holds = (place: string) =>
      files.some((file) => file === place || file.startsWith(`${place}/`));
    const read = (file: string) => fs.readFileSync(path.join(root, file), 'utf8');
    const dead = (file: string) =>
      links(read(file)).filter(([target, heading]) => {
        const found = target === '' ? file : path.join(path.dirname(file), target);
        if (!holds(found)) return true;
        return heading !== undefined && !anchors(read(found)).includes(heading);
      });
    const documents = files.filter((file) => file.endsWith('.md'));
    const result = documents.map((file): [string, unknown[]] => [file, dead(file)]);
    assert.deepEqual(Object.fromEntries(result.filter(([, links]) => links.length > 0)), {});
  });

  it('satisfies publint to the last suggestion', () => {
    const publint = path.join(root, 'node_modules/publint/src/cli.js');
    const report = execFileSync(process.execPath, [publint, 'run', tarball, '--strict'], {
      encoding: 'utf8',
    });
    assert.match(report, /All good/);
  });
});
