import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';

import { temporaryFolder } from '../../support/packed.js';

const SOURCES = ['test/unit/native/pci-mirror.program.cc', 'native/pci_mirror.cc'];

describe('PCI configuration accesses on the thread of a vCPU', function () {
  this.timeout(120_000);

  /** What became of the accesses, by what the program says they are. */
  const seen = new Map<string, string[]>();

  before(() => {
    const program = path.join(temporaryFolder(), 'pci-mirror');
    execFileSync('c++', ['-std=c++17', '-pthread', '-o', program, ...SOURCES]);
    let accesses: string[] = [];
    for (const line of execFileSync(program, { encoding: 'utf8' }).trim().split('\n')) {
      if (/^(here|asked|after)/.test(line)) accesses.push(line);
      else seen.set(line, (accesses = []));
    }
  });

  it('are all asked before it was told what is there', () => {
    assert.deepEqual(seen.get('before it is told'), ['here', 'after 0x80002800, asked']);
  });

  it('are answered with all ones for slots, functions and buses that have nothing', () => {
    const nothing = ['here', 'here 0xffffffff'];
    const expected = [...nothing, 'here', ...nothing, ...nothing];
    assert.deepEqual(seen.get('what is not there'), expected);
  });

  it('are never answered by an address that is not known', () => {
    const expected = ['after 0x80010000, asked', 'asked', 'asked'];
    assert.deepEqual(seen.get('an address in parts'), expected);
  });

  it('are answered with what was told, by bytes, words and double words', () => {
    const values = ['0x43424140', '0x4241', '0x43'].map((value) => `here ${value}`);
    const expected = ['here', ...values, 'here', 'here 0xfffefdfc'];
    assert.deepEqual(seen.get('what is there'), expected);
  });

  it('are asked where they write, go beyond, touch what changes by itself, or are not enabled', () => {
    assert.deepEqual(seen.get('what is asked'), [
      ...['after 0x800000fc, asked', 'asked'],
      ...['here', 'after 0x80000050, asked', 'here 0x5150'],
      ...['here', 'after 0x80000054, asked', 'here 0x5756'],
      ...['here', 'after 0x40, asked'],
    ]);
  });

  it('are answered with what it was told last', () => {
    assert.deepEqual(seen.get('once it has changed'), ['here', 'here 0x434241ee']);
  });
});
