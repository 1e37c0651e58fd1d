import assert from 'node:assert/strict';

import { pairedRatio } from '../../../scripts/bench/results.js';

const runs = (...rates: number[]) =>
  rates.map((rate) => ({ rate, appNsPerFrame: 0, workerNsPerFrame: 0 }));

describe('pairedRatio()', () => {
  it('compares what followed each other, however the machine drifts', () => {
    assert.equal(pairedRatio([runs(20, 200, 2000)], runs(10, 100, 1000)), 2);
    assert.equal(pairedRatio([runs(1, 2, 30)], runs(1, 1, 1)), 2);
  });

  it('takes the mean of what ran beside it', () => {
    assert.equal(pairedRatio([runs(10, 30), runs(30, 50)], runs(10, 10)), 3);
  });

  it('leaves out runs that nothing ran beside, and says nothing without one', () => {
    assert.equal(pairedRatio([runs(30), runs(10, 50)], runs(10, 10, 1)), 3.5);
    assert.equal(pairedRatio([runs(1)], []), undefined);
    assert.equal(pairedRatio([], runs(1)), undefined);
  });
});
