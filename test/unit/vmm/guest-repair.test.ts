import assert from 'node:assert/strict';

import { VhostError } from '#lib/errors';
import type { GuestPairs } from '#lib/vmm/guest-pairs';
import { GuestRepair, faultOf } from '#lib/vmm/guest-repair';
import type { GuestFault } from '#lib/vmm/guest-repair';
import { UNLIMITED } from '#lib/vmm/turns';

/** What stands in for queue pairs and what is behind them. */
class FakePairs {
  lost = false;
  reopened = 0;
  /** What the next reopening throws, and whether the interface is there then. */
  refusal: Error | undefined;
  comesBack = true;

  backendLost(): boolean {
    return this.lost;
  }

  reopenBackend(): number {
    this.reopened++;
    this.lost = !this.comesBack;
    if (this.refusal) throw this.refusal;
    return 3;
  }
}

describe("the repair of a guest's rings", () => {
  const corrupt = new VhostError('ERR_VHOST_QUEUE_CORRUPT', 'a ring lies nowhere');
  let pairs: FakePairs;
  let faults: GuestFault[];
  let resets: number;
  let repair: GuestRepair;

  beforeEach(() => {
    pairs = new FakePairs();
    faults = [];
    resets = 0;
    repair = new GuestRepair({
      pairs: pairs as unknown as GuestPairs,
      work: UNLIMITED,
      needsReset: () => resets++,
      onFault: (fault) => faults.push(fault),
    });
  });

  it('makes a lost interface again, and the guest is told nothing', () => {
    pairs.lost = true;
    repair.mend(faultOf(new Error('EBADFD')));
    assert.deepEqual([pairs.reopened, resets], [1, 0]);
    assert.deepEqual([faults[0]?.outcome, faults[0]?.unsent], ['repaired', 3]);
  });

  it('leaves an interface alone that is there, whatever fails: the guest is told to reset', () => {
    repair.mend(faultOf(corrupt));
    repair.mend(faultOf(new Error('EBUSY')));
    assert.deepEqual([pairs.reopened, resets], [0, 2]);
    const told = faults.map(({ cause, outcome, message }) => [cause, outcome, message]);
    assert.deepEqual(told, [
      ['corrupt', 'needs-reset', 'a ring lies nowhere'],
      ['backend', 'needs-reset', 'EBUSY'],
    ]);
  });

  it('waits, and says so once, while the interface can not be made', () => {
    Object.assign(pairs, { lost: true, comesBack: false, refusal: new Error('EBUSY') });
    for (let look = 0; look < 3; look++) repair.mend(faultOf(new Error('gone')));
    assert.deepEqual([pairs.reopened, resets], [3, 0]);
    assert.deepEqual(
      faults.map(({ outcome }) => outcome),
      ['waiting'],
    );
  });

  it('does not wait for an interface that is there again, when the rings can not go on', () => {
    Object.assign(pairs, { lost: true, refusal: corrupt });
    repair.mend(faultOf(new Error('gone')));
    assert.equal(resets, 1);
    assert.deepEqual([faults[0]?.cause, faults[0]?.outcome], ['corrupt', 'needs-reset']);
  });
});
