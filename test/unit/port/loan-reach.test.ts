import assert from 'node:assert/strict';

import { Arena } from '#lib/port/arena';
import { Frame } from '#lib/port/frame';
import { Loans } from '#lib/port/loans';
import { DriverQueue } from '#lib/ring/driver-queue';

const SIZE = 4;

describe('the arenas of loans', () => {
  let own: Arena;
  let lender: Arena;

  beforeEach(() => {
    own = Arena.allocate({ queueSize: SIZE, slotPayload: 1518 });
    lender = Arena.allocate({ queueSize: SIZE, slotPayload: 1518 });
  });
  afterEach(() => {
    own.close();
    lender.close();
  });

  /** Asked for an arena, it answers this, one after the other. */
  function loansWith(...answers: boolean[]): { loans: Loans; asked: Arena[] } {
    const asked: Arena[] = [];
    const ring = { size: SIZE, eventIdx: true };
    const queue = new DriverQueue(own.ringBuffer, own.transmit.byteOffset, ring);
    const connect = (arena: Arena) => {
      asked.push(arena);
      return answers.shift() ?? assert.fail('asked once too often');
    };
    return { loans: new Loans(queue, own.transmitSlots, connect), asked };
  }

  const frame = () =>
    new Frame(lender.receiveSlots, { busyFrames: 0, reclaim: () => undefined }, 0);

  it('ask once for each arena, and reach no frame of one that can not be reached', () => {
    const { loans, asked } = loansWith(false);
    assert.deepEqual([loans.reaches(frame()), loans.reaches(frame())], [false, false]);
    assert.deepEqual(asked, [lender]);
  });

  it('ask again for an arena that was forgotten', () => {
    const { loans, asked } = loansWith(true, false);
    assert.deepEqual([loans.reaches(frame()), loans.reaches(frame())], [true, true]);
    loans.forget(lender);
    assert.deepEqual([loans.reaches(frame()), loans.reaches(frame())], [false, false]);
    assert.deepEqual(asked, [lender, lender]);
  });
});
