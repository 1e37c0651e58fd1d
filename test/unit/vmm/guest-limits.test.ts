import assert from 'node:assert/strict';

import { GuestLimits } from '#lib/vmm/guest-limits';

describe('GuestLimits', () => {
  it('charges for what is done, also for what throws', () => {
    const limits = new GuestLimits(0.5);
    const work = () => {
      const until = performance.now() + 3;
      while (performance.now() < until);
    };
    limits.charged(work);
    assert.throws(() => {
      limits.charged(() => {
        work();
        throw new Error('refused');
      });
    }, /refused/);
    const { milliseconds, waits } = limits.statistics().loop;
    assert.ok(milliseconds >= 6, String(milliseconds));
    assert.equal(waits, 0);
  });

  it('lets what has no end rest for as long as it worked, and until the share of all is made up for', () => {
    const limits = new GuestLimits(0.1);
    assert.equal(limits.pause(7), 7);
    limits.budget.charge(1100); // a second was saved up
    const pause = limits.pause(7);
    assert.ok(pause > 900 && pause < 1200, String(pause));
    limits.budget.charge(100); // another card's
    assert.ok(limits.pause(7) > pause + 900);
  });

  it('limits each kind of news by itself, and counts together what is not told', () => {
    const limits = new GuestLimits(0.5);
    const told = { faults: 0, failures: 0 };
    const fault = limits.limited((count: number) => (told.faults += count));
    const failure = limits.limited((count: number) => (told.failures += count));
    for (let i = 0; i < 1000; i++) fault(1);
    failure(1);
    assert.equal(told.failures, 1);
    const { untold } = limits.statistics();
    assert.equal(told.faults + untold, 1000);
    assert.ok(untold > 900, String(untold));
  });
});
