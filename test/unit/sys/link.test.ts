import assert from 'node:assert/strict';

import { parseInterfaceAddress } from '#lib/sys/link';

describe('parseInterfaceAddress()', () => {
  it('reads addresses of both families, with the length of the prefix', () => {
    assert.deepEqual(parseInterfaceAddress('10.9.0.1/24'), {
      bytes: Uint8Array.of(10, 9, 0, 1),
      prefixLength: 24,
    });
    const bytes = Uint8Array.of(0xfe, 0x80, ...new Array<number>(11).fill(0), 1, 2, 3);
    assert.deepEqual(parseInterfaceAddress('fe80::1:203/64'), { bytes, prefixLength: 64 });
    assert.equal(parseInterfaceAddress('::ffff:10.9.0.1/128')?.bytes[12], 10);
  });

  for (const text of [
    '10.9.0.1',
    '10.9.0.1/',
    '10.9.0.1/33',
    '10.9.0.1/24/x',
    '10.9.0.1/24/',
    '10.9.0.1/-1',
    '10.9.0/24',
    'fd00::1/129',
    'fe80::1%eth0/64',
    'fe80::1%:1:2:3:4:5:6:7:8/64',
    '',
  ]) {
    it(`takes no part of what is none: ${JSON.stringify(text)}`, () => {
      assert.equal(parseInterfaceAddress(text), undefined);
    });
  }
});
