import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';

import { temporaryFolder } from '../../support/packed.js';

const SOURCES = ['test/unit/native/pci-probe.program.cc', 'native/pci_probe.cc'];

describe('PCI configuration accesses on the thread of a vCPU', function () {
  this.timeout(120_000);

  it('are answered there for slots that have nothing, and never by an address that is not known', () => {
    const program = path.join(temporaryFolder(), 'pci-probe');
    execFileSync('c++', ['-std=c++17', '-pthread', '-o', program, ...SOURCES]);
    const lines = execFileSync(program, { encoding: 'utf8' }).trim().split('\n');
    assert.deepEqual(lines, [
      'here',
      'here',
      'after 0x80002800, asked',
      'asked',
      'here',
      'after 0x80000000, asked',
      'here',
      'here',
    ]);
  });
});
