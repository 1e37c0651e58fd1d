import assert from 'node:assert/strict';

import { kernelTables } from '../../support/kernel-tables.js';

const seen = (request: string, test: string, code = '') => ({ request, test, code, count: 2 });

describe('kernelTables', () => {
  const text = kernelTables([
    {
      release: '6.12.1',
      features: '8000',
      ioctls: [seen('A', 'one: works'), seen('A', 'two: is refused', 'EINVAL')],
    },
    {
      release: '6.1.1',
      features: '0',
      ioctls: [
        seen('A', 'three: is refused', 'EINVAL'),
        seen('A', 'four: is refused', 'EINVAL'),
        seen('A', 'five: is refused', 'EPERM'),
        seen('B', 'six: is refused', 'EINVAL'),
      ],
    },
  ]);

  it('has a column for each kernel, the oldest first', () => {
    assert.match(text, /\| 15 \| `VIRTIO_NET_F_MRG_RXBUF` \| [^|]* \| {2}\| yes \|/);
    assert.match(text, /\| ioctl \| 6\.1\.1 \| 6\.12\.1 \| a test that made it \|/);
  });

  it('says how often an ioctl worked and in which test, or that it never did', () => {
    assert.match(text, /^\| `A` \| refused \| 2 \| one: works \|$/m);
    assert.match(text, /^\| `B` \| refused \| refused \| six: is refused \|$/m);
  });

  it('has one row for the tests in which an ioctl was refused alike', () => {
    const refusals = text.split('## Refusals')[1] ?? '';
    const rows = refusals.split('\n').filter((line) => line.startsWith('| `'));
    assert.deepEqual(rows, [
      '| `A` | five: is refused | `EPERM` |  |',
      '| `A` | four: is refused (and 1 more) | `EINVAL` |  |',
      '| `A` | two: is refused |  | `EINVAL` |',
      '| `B` | six: is refused | `EINVAL` |  |',
    ]);
  });
});
