import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { describeWith } from '../support/requirements.js';

const ROOT = path.dirname(require.resolve('vhost-net/package.json'));
const FINDINGS = fs.readFileSync(path.join(ROOT, 'docs/kernel-findings.md'), 'utf8');

/** The kernels whose output is in the page, as it calls them. */
const KERNEL = ['6.1', '6.12', '7'].find((kernel) => os.release().startsWith(`${kernel}.`));

/** Not every processor has what this one is about. */
const OF_KEYS = 'worker-rights';

/** What the page says that a program prints here: a line that ends in kernels is of those alone. */
function expected(name: string): string[] {
  const after = FINDINGS.split(`(reproducers/${name}.c)`)[1] ?? '';
  const block = /```text\n(.*?)\n```/s.exec(after)?.[1] ?? '';
  return block.split('\n').flatMap((line) => {
    const [, text = line, kernels] = /^(.*) \((6\.1|6\.12|7)((?:, [\d.]+)*)\)$/.exec(line) ?? [];
    if (kernels === undefined) return [line];
    return line
      .slice(text.length)
      .match(/[\d.]+/g)
      ?.includes(KERNEL ?? '')
      ? [text]
      : [];
  });
}

function compare(name: string): void {
  it(name, () => {
    const program = path.join(ROOT, 'out/reproducers', name);
    const output = execFileSync(program, { encoding: 'utf8', timeout: 30_000 });
    assert.deepEqual(output.trimEnd().split('\n'), expected(name));
  }).timeout(30_000);
}

describeWith(['vhost', 'tun', 'root'], 'the reproducers print what the page says:', () => {
  before(function () {
    this.timeout(120_000); // a dozen compilations, where nobody made them before
    if (KERNEL === undefined) this.skip();
    execFileSync(path.join(ROOT, 'scripts/reproducers'), { stdio: 'inherit' });
  });

  const sources = fs.readdirSync(path.join(ROOT, 'docs/reproducers'));
  const names = sources.filter((one) => one.endsWith('.c')).map((one) => one.slice(0, -2));
  for (const name of names.filter((one) => one !== OF_KEYS)) compare(name);
  describeWith(['keys'], 'and that of protection keys:', () => {
    compare(OF_KEYS);
  });
});
