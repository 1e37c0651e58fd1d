import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';

const root = path.dirname(require.resolve('vhost-net/package.json'));

/** Every path below native/ that a build file names, in the order of the file. */
function named(file: string): string[] {
  const text = readFileSync(path.join(root, file), 'utf8');
  return [...text.matchAll(/\bnative\/\w+\.cc?\b/g)].map(([source]) => source);
}

describe('the sources of the addon', () => {
  const there = readdirSync(path.join(root, 'native'))
    .filter((name) => /\.cc?$/.test(name))
    .map((name) => `native/${name}`)
    .sort();

  for (const file of ['binding.gyp', 'CMakeLists.txt']) {
    it(`are all in ${file}, each once and sorted`, () => {
      assert.deepEqual(named(file), there);
    });
  }
});
