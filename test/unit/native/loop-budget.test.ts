import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';

import { temporaryFolder } from '../../support/packed.js';
import { LoopBudget } from '#lib/sys/loop-budget';

const SOURCES = ['test/unit/native/loop-budget.program.cc', 'native/loop_budget.cc'];

describe("the budget of an event loop's time", function () {
  this.timeout(120_000);

  it('lets a share of the time be taken, and what was saved up; whoever takes more waits for a burst', () => {
    const program = path.join(temporaryFolder(), 'loop-budget');
    execFileSync('c++', ['-std=c++17', '-o', program, ...SOURCES]);
    const lines = execFileSync(program, { encoding: 'utf8' }).trim().split('\n');
    assert.deepEqual(lines, [
      'at first: 0',
      'what was saved up and half of the time: 0',
      'more than that: 23',
      'on the way: 3',
      'when there is enough for a burst: 1',
      'after something that took long: 401',
      'never more saved up than the most: 0',
      'spent 802, waited 2 times 7',
      'where all of the time may be taken: 0',
    ]);
  });

  it('counts what is charged to it', () => {
    const budget = new LoopBudget(0.5, 1000);
    budget.charge(2.5);
    budget.charge(1);
    assert.deepEqual(budget.statistics(), { milliseconds: 3.5, waits: 0, waitedMilliseconds: 0 });
  });

  it('says for how long to wait before more is taken', () => {
    const budget = new LoopBudget(0.5, 20);
    assert.equal(budget.due(), 0);
    budget.charge(120);
    const due = budget.due(); // 100 to make up for and a burst, of which half comes by each millisecond
    assert.ok(due > 200 && due <= 221, String(due));
  });

  it('refuses what is no share and no time', () => {
    const wrong = [0, -1, 1.5, NaN, Infinity];
    for (const share of wrong) assert.throws(() => new LoopBudget(share, 1), RangeError);
    for (const time of [-1, NaN, Infinity])
      assert.throws(() => new LoopBudget(1, time), RangeError);
    assert.throws(() => new LoopBudget('1' as never, 1), TypeError);
    assert.throws(() => {
      new LoopBudget(1, 1).charge(-1);
    }, RangeError);
  });
});
