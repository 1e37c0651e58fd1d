import assert from 'node:assert/strict';

import { RateLimit } from '#lib/vmm/rate-limit';

describe('RateLimit', () => {
  it('tells ten at once and ten a second after that, and counts the rest', () => {
    let now = 500;
    let told = 0;
    const limit = new RateLimit(() => now);
    const pass = (count: number) => {
      for (let i = 0; i < count; i++) {
        limit.pass(() => {
          told++;
        });
      }
    };
    pass(100);
    assert.deepEqual([told, limit.untold], [10, 90]);
    now += 99;
    pass(1);
    assert.deepEqual([told, limit.untold], [10, 91]);
    now += 101;
    pass(3);
    assert.deepEqual([told, limit.untold], [12, 92]);
    now += 3_600_000;
    pass(11);
    assert.deepEqual([told, limit.untold], [22, 93]);
  });

  it('has counted before it tells, so that what a listener throws is not told for ever', () => {
    const limit = new RateLimit(() => 0);
    const fail = () => {
      throw new Error('a listener');
    };
    for (let i = 0; i < 10; i++) {
      assert.throws(() => {
        limit.pass(fail);
      }, /a listener/);
    }
    limit.pass(fail);
    assert.equal(limit.untold, 1);
  });
});
