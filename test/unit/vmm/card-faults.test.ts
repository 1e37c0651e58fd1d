import assert from 'node:assert/strict';

import { CardFaults } from '#lib/vmm/card-faults';

describe('faults of a card', () => {
  let log: string[];
  let faults: CardFaults;

  const note = (what: string) => (index: number, held: boolean) => {
    log.push(`${what} ${String(index)} ${held ? 'held' : 'let go'}`);
  };

  beforeEach(() => {
    log = [];
    faults = new CardFaults(
      // Two queue pairs, and a control queue.
      {
        queueSizes: [256, 256, 256, 256, 64],
        holdQueue: note('ring'),
        silenceQueue: note('calls'),
      },
      { vectors: 6, holdVector: note('vector') },
    );
  });

  it('are of the queue that was meant, and end once', () => {
    for (const end of [
      faults.holdRing('receive'),
      faults.holdRing('transmit', 1),
      faults.holdCompletions('transmit'),
      faults.holdVector(5),
    ]) {
      end();
      end();
    }
    assert.deepEqual(log, [
      ...['ring 0 held', 'ring 3 held', 'calls 1 held', 'vector 5 held'],
      ...['ring 0 let go', 'ring 3 let go', 'calls 1 let go', 'vector 5 let go'],
    ]);
  });

  it('are each there once, beside the others', () => {
    const end = faults.holdRing('receive');
    faults.holdCompletions('receive');
    assert.throws(() => faults.holdRing('receive'), { code: 'ERR_VHOST_STATE' });
    end();
    faults.holdRing('receive');
    end();
    assert.deepEqual(log.at(-1), 'ring 0 held', 'another is not ended by that');
  });

  it('are of no queue that has no worker, and of no vector that there is not', () => {
    for (const pair of [2, -1, 0.5, NaN]) {
      assert.throws(() => faults.holdRing('receive', pair), /pair must be an integer below 2/);
      assert.throws(() => faults.holdCompletions('transmit', pair), /pair must be an integer/);
    }
    for (const index of [6, -1, 1.5]) {
      assert.throws(() => faults.holdVector(index), /index must be an integer below 6/);
    }
    assert.deepEqual(log, []);
  });

  it('are not there when they can not begin', () => {
    let refuses = true;
    const refusing = new CardFaults(
      {
        queueSizes: [256, 256, 64],
        holdQueue: note('ring'),
        silenceQueue: (index, held) => {
          note('calls')(index, held);
          if (refuses && held) throw new Error('refused');
        },
      },
      { vectors: 4, holdVector: note('vector') },
    );
    assert.throws(() => refusing.holdCompletions('receive'), /refused/);
    assert.deepEqual(log, ['calls 0 held', 'calls 0 let go'], 'nothing is left of it');
    refuses = false;
    refusing.holdCompletions('receive')();
    assert.deepEqual(log.slice(2), ['calls 0 held', 'calls 0 let go']);
  });

  it('are over with the machine', () => {
    const end = faults.holdVector(0);
    faults.close();
    end();
    assert.deepEqual(log, ['vector 0 held']);
    assert.throws(() => faults.holdRing('receive'), { code: 'ERR_VHOST_CLOSED' });
  });
});
