import assert from 'node:assert/strict';

import { BACKEND_LOST } from '#lib/dataplane/repair';
import { Arena } from '#lib/port/arena';
import { Recovery } from '#lib/port/recovery';
import type { RecoveryOptions, RepairReport } from '#lib/port/recovery';
import type { RingRecovery } from '#lib/port/transmit-path';
import type { GuestMemory } from '#lib/memory/guest-memory';
import type { VhostError } from '#lib/errors';

const FAULT = { cause: 'kernel', ring: 'receive', message: 'a ring broke' } as const;

const index = () => ({ words: new Uint16Array(1), at: 0 });

describe('Recovery', () => {
  let own: Arena;
  let other: Arena;
  let running: boolean;
  let startFails: boolean;
  let lent: boolean;
  let recovered: boolean[];
  let onDelivery: () => void;
  let errors: VhostError[];
  let reports: RepairReport[];
  let given: VhostError[];
  let recovery: Recovery;

  const pair = {
    get running() {
      return running;
    },
    worker: undefined,
    bases: () => ({ receive: 0, transmit: 0 }),
    base: () => 0,
    replaceMemory: (memories: GuestMemory[]) => {
      assert.ok(memories.every((one) => !one.closed));
    },
    start: () => {
      if (startFails) throw new Error('no backend any more');
      running = true;
    },
    stop: () => {
      running = false;
    },
  };
  const receive = {
    start: () => undefined,
    resumed: () => undefined,
    recover: () => {
      onDelivery();
      return 0;
    },
  };
  const transmit = {
    start: () => undefined,
    resumed: () => undefined,
    progress: () => ({ waiting: 0, used: 0 }),
    ringPlace: { avail: index(), used: index(), size: 4 },
    kick: () => undefined,
    giveUp: (error: VhostError) => void given.push(error),
    hasten: () => undefined,
    stopLending: () => lent,
    recover: (_base: number, anew: boolean): RingRecovery => {
      recovered.push(anew);
      return { base: 0, unsent: anew ? 2 : 0, unknown: 0 };
    },
  };

  beforeEach(() => {
    own = Arena.allocate({ queueSize: 4, slotPayload: 1518 });
    other = Arena.allocate({ queueSize: 4, slotPayload: 1518 });
    running = startFails = lent = false;
    recovered = [];
    errors = [];
    reports = [];
    given = [];
    onDelivery = () => undefined;
    recovery = open(true);
    recovery.start();
  });

  function open(repair: boolean): Recovery {
    return new Recovery({
      pair,
      backend: { queues: [{}], lost: () => false },
      queueIndex: 0,
      arena: own,
      features: 0n,
      receive,
      transmit,
      repair,
      onRepair: (report: RepairReport) => reports.push(report),
      onError: (error: VhostError) => errors.push(error),
    } as unknown as RecoveryOptions);
  }

  afterEach(() => {
    recovery.close();
    own.close();
    other.close();
  });

  /** When everything that waits for a turn of its own has had it. */
  async function turns(): Promise<void> {
    for (let i = 0; i < 2; i++) await new Promise((resolve) => setImmediate(resolve));
  }

  it('lets a port close although our rings do not start again without its memory, and says so', async () => {
    recovery.borrow(other);
    lent = startFails = true;
    other.close();
    assert.equal(other.memory.closed, true);
    assert.equal(running, false);
    await turns();
    assert.deepEqual(
      errors.map((error) => [error.code, (error.cause as Error).message]),
      [['ERR_VHOST_QUEUE_BROKEN', 'no backend any more']],
    );
  });

  it('begins the transmit ring anew when the port of its frames is closed during a repair', async () => {
    recovery.borrow(other);
    onDelivery = () => {
      lent = true;
      other.close();
    };
    recovery.report(FAULT);
    await turns();
    assert.deepEqual(recovered, [false, true]);
    assert.equal(reports[0]?.unsent, 2);
    assert.equal(running, true);
    assert.deepEqual(errors, []);
  });

  it('says that it is at work while a handler gets what had come, and not afterwards', async () => {
    let during = false;
    onDelivery = () => {
      during = recovery.repairing;
    };
    assert.equal(recovery.repairing, false);
    recovery.report(FAULT);
    await turns();
    assert.deepEqual([during, recovery.repairing, reports.length], [true, false, 1]);
  });

  it('tells of the end once', async () => {
    startFails = true;
    recovery.report(FAULT);
    await turns();
    recovery.report(FAULT);
    await turns();
    assert.equal(errors.length, 1);
  });

  it('looks after the transmit ring although the receive ring was given up', async () => {
    recovery.close();
    recovery = open(false);
    recovery.start();
    recovery.report(FAULT);
    await turns();
    assert.equal(recovery.failure('receive'), errors[0]);
    assert.deepEqual([recovery.failure('transmit'), given, running], [undefined, [], true]);
    recovery.report(FAULT);
    await turns();
    assert.equal(errors.length, 1);
    recovery.report(BACKEND_LOST);
    await turns();
    assert.deepEqual(
      errors.map(({ code }) => code),
      ['ERR_VHOST_QUEUE_BROKEN', 'ERR_VHOST_BACKEND_LOST'],
    );
    assert.deepEqual(given, [errors[1]]);
    assert.equal(recovery.failure('transmit'), errors[1]);
    assert.equal(recovery.failure('receive'), errors[0], 'each ring has its own reason');
  });

  it("does not take what a handler of 'repair' throws for a failed repair", async () => {
    const uncaught = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    const thrown: unknown[] = [];
    process.once('uncaughtException', (error) => thrown.push(error));
    const failure = new Error('a handler failed');
    reports.push = () => {
      throw failure;
    };
    try {
      recovery.report(FAULT);
      await turns();
    } finally {
      process.removeAllListeners('uncaughtException');
      for (const listener of uncaught) process.on('uncaughtException', listener);
    }
    assert.deepEqual(thrown, [failure]);
    assert.deepEqual(errors, []);
  });
});
