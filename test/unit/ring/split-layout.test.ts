import assert from 'node:assert/strict';

import { splitLayout } from '#lib/ring/split-layout';

describe('splitLayout()', () => {
  it('aligns and sizes the parts as the specification says, for every legal size', () => {
    for (let size = 1; size <= 32768; size *= 2) {
      const layout = splitLayout(size);
      assert.equal(layout.desc % 16, 0);
      assert.equal(layout.avail % 2, 0);
      assert.equal(layout.used % 4, 0);
      assert.ok(layout.avail >= layout.desc + 16 * size);
      assert.equal(layout.usedEvent, layout.avail + 4 + 2 * size);
      assert.ok(layout.used >= layout.usedEvent + 2);
      assert.equal(layout.availEvent, layout.used + 4 + 8 * size);
      assert.equal(layout.byteLength, layout.availEvent + 2);
    }
  });

  it('refuses other sizes, naming what came', () => {
    for (const size of [0, 3, 65536, 2.5]) {
      assert.throws(() => splitLayout(size), {
        name: 'RangeError',
        message: new RegExp(`got ${String(size)}`),
      });
    }
    assert.throws(() => splitLayout('4' as never), { name: 'TypeError', message: /got '4'/ });
  });
});
