import assert from 'node:assert/strict';

import { Turns } from '#lib/vmm/turns';

/** Timers that go off when the test says so. */
class Timers {
  due: (() => void)[] = [];
  pauses: number[] = [];
  now = 0;

  readonly clock = {
    now: () => this.now,
    later: (milliseconds: number, body: () => void) => {
      this.pauses.push(milliseconds);
      this.due.push(body);
      return () => {
        this.due = this.due.filter((one) => one !== body);
      };
    },
  };

  fire(): void {
    for (const body of this.due.splice(0)) body();
  }
}

describe('Turns', () => {
  let timers: Timers;
  let turns: Turns;
  let taken: number;
  let around: number;
  let rest: (turn: number) => number;

  beforeEach(() => {
    timers = new Timers();
    around = 0;
    rest = (turn) => turn;
    const work = {
      charged: (body: () => void) => {
        around++;
        body();
      },
      pause: (milliseconds: number) => rest(milliseconds),
    };
    turns = new Turns(work, timers.clock);
    taken = 0;
  });

  const turn = (milliseconds: number, more: boolean) => () => {
    taken++;
    timers.now += milliseconds;
    return more;
  };

  it('are over where there is no more to be done', () => {
    turns.begin(turn(1, false));
    turns.begin(turn(1, false));
    assert.deepEqual([taken, timers.due.length], [2, 0]);
  });

  it('go on after a pause as long as the turn was', () => {
    turns.begin(turn(7, true));
    timers.fire();
    timers.fire();
    assert.deepEqual([taken, timers.pauses], [3, [7, 7, 7]]);
    assert.equal(around, 2, 'the first is part of what asked for it');
  });

  it('wait for as long as they are told to after one', () => {
    rest = () => 40;
    turns.begin(turn(7, true));
    timers.fire();
    assert.deepEqual(timers.pauses, [40, 40]);
  });

  it('are no more of them when somebody asks again and again meanwhile', () => {
    for (let i = 0; i < 100; i++) turns.begin(turn(1, true));
    assert.deepEqual([taken, timers.due.length], [1, 1]);
    timers.fire();
    assert.deepEqual([taken, timers.due.length], [2, 1]);
  });

  it('do not go on once they are stopped, and can be begun anew', () => {
    turns.begin(turn(1, true));
    turns.stop();
    timers.fire();
    assert.equal(taken, 1);
    turns.begin(turn(1, false));
    assert.equal(taken, 2);
  });

  it('do not go on when they are stopped in the midst of one', () => {
    turns.begin(() => {
      turns.stop();
      return true;
    });
    assert.equal(timers.due.length, 0);
  });
});
