import assert from 'node:assert/strict';

import { Blocking } from '#lib/port/blocking';
import type { BlockingOptions } from '#lib/port/blocking';

describe('Blocking', () => {
  /** A port whose ring is full, and whose worker takes nothing. */
  function full(
    repairing: boolean,
    waits: number[],
    { untilLook = Infinity, failure }: { untilLook?: number; failure?: Error } = {},
  ): Blocking {
    const failed = () => (waits.length > 0 ? failure : undefined);
    const waiters = { called: () => undefined, nudge: () => undefined };
    return new Blocking({
      pair: {
        closed: false,
        transmit: { call: { closed: false } },
        wait: (_: unknown, milliseconds: number) => {
          waits.push(milliseconds);
          return { calls: 0 };
        },
      },
      transmit: { send: () => false, flush: () => undefined, waiters },
      arena: { receiveSlots: { out: 0, pressing: false } },
      recovery: { repairing, untilLook, attend: () => undefined, failure: failed },
      onMainThread: true,
    } as unknown as BlockingOptions);
  }

  it('does not wait for room in a handler that a repair calls: nobody would make any', () => {
    const waits: number[] = [];
    assert.equal(full(true, waits).send(new Uint8Array(60), Infinity, undefined), false);
    assert.deepEqual(waits, []);
  });

  it('waits for nothing of a ring that was given up, and says why', () => {
    const reason = new Error('no backend any more');
    const given = new Blocking({
      pair: { closed: false, transmit: { call: { closed: false } } },
      arena: { receiveSlots: { out: 0, pressing: false } },
      transmit: {
        send: () => false,
        drained: () => Promise.reject(reason),
        statistics: () => ({ lost: 0, inFlight: 3 }),
        waiters: { nudge: () => undefined },
      },
      recovery: { failure: (ring: string) => (ring === 'transmit' ? reason : undefined) },
      onMainThread: true,
    } as unknown as BlockingOptions);
    assert.throws(() => given.send(new Uint8Array(60), Infinity, undefined), reason);
    assert.throws(() => given.drained(Infinity), reason);
  });

  it('waits no longer than it was told to', () => {
    const waits: number[] = [];
    assert.equal(full(false, waits).send(new Uint8Array(60), 5, undefined), false);
    assert.ok(waits.length > 0 && waits.every((milliseconds) => milliseconds <= 5));
  });

  for (const [what, untilLook, longest] of [
    ['than until the watchdog is to look', 2.5, 3],
    ['at once than a Worker may take to be terminated', Infinity, 200],
  ] as const) {
    it(`waits no longer ${what}`, () => {
      const waits: number[] = [];
      const failure = new Error('enough');
      const blocking = full(false, waits, { untilLook, failure });
      assert.throws(() => blocking.send(new Uint8Array(60), Infinity, undefined), failure);
      assert.deepEqual(waits, [longest]);
    });
  }
});
