import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { root } from '../support/packed.js';
import { VhostSystemError } from '#lib/errors';

const NUMBERS: Readonly<Record<string, number>> = {
  ...os.constants.errno,
  ENOTSUP: 95, // of Linux the same as EOPNOTSUPP
  EBADFD: 77,
};

/** Every refusal that the tests on three kernels saw: request and errno's name. */
function refusals(): [request: string, code: string][] {
  const [, table = ''] = fs
    .readFileSync(path.join(root, 'docs/kernels.md'), 'utf8')
    .split('## Refusals: the errnos seen');
  const rows = Array.from(table.matchAll(/^\| `(\w+)` \|[^|]*\|(.*)$/gm));
  const pairs = rows.flatMap(([, request = '', cells = '']) => {
    return Array.from(cells.matchAll(/`(\w+)`/g), ([, code = '']) => `${request} ${code}`);
  });
  return [...new Set(pairs)].map((pair) => pair.split(' ') as [string, string]);
}

describe('the hint of an error', () => {
  it('is there for everything that a kernel was seen to refuse', () => {
    const seen = refusals();
    assert.ok(seen.length > 40, String(seen.length));
    const silent = seen.filter(([request, code]) => {
      const error = new VhostSystemError(NUMBERS[code] ?? 0, 'ioctl', request);
      assert.equal(error.code, code);
      return error.hint === undefined;
    });
    assert.deepEqual(silent, []);
  });

  it('says of a request that is unknown nothing about owners and rings', () => {
    for (const request of ['VHOST_GET_FEATURES_ARRAY', 'VHOST_SET_FORK_FROM_OWNER']) {
      for (const code of ['EPERM', 'ENOBUFS', 'ENOTTY']) {
        const { hint } = new VhostSystemError(NUMBERS[code] ?? 0, 'ioctl', request);
        assert.match(hint ?? '', /does not know/);
      }
    }
    const { hint } = new VhostSystemError(1, 'ioctl', 'VHOST_SET_VRING_NUM');
    assert.match(hint ?? '', /setOwner/);
  });
});
