import assert from 'node:assert/strict';

import { GuestRam } from '#lib/vmm/guest-ram';

describe('GuestRam', () => {
  it('is zero for the first who asks, who writes to it, and for nobody after that', () => {
    const ram = new GuestRam(32);
    assert.deepEqual([ram.takeZero(), ram.takeZero(), ram.takeZero()], [true, false, false]);
    ram.close();
  });
});
