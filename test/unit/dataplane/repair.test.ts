import assert from 'node:assert/strict';
import { mock } from 'node:test';

import { BACKEND_LOST, Watchdog } from '#lib/dataplane/repair';
import { EventFd } from '#lib/sys/eventfd';
import type { WorkerThread } from '#lib/sys/worker-thread';

/** Milliseconds after which what should have happened will not. */
const LONG = 10_000;

const SPUN = 30e6; // nanoseconds of CPU time, more than any pause takes

describe('Watchdog', () => {
  let waiting: number;
  let used: number;
  let base: number;
  let cpuTime: number;
  let sleeps: boolean;
  let lost: boolean;
  let asked: number;
  let kicks: number;
  let watchdog: Watchdog;

  beforeEach(() => {
    waiting = 8;
    used = base = cpuTime = asked = kicks = 0;
    sleeps = lost = false;
    const worker = {
      get cpuTime() {
        asked++;
        return cpuTime;
      },
      get sleeps() {
        return sleeps;
      },
    } as unknown as WorkerThread;
    const subject = {
      worker,
      backendLost: () => lost,
      transmitProgress: () => ({ waiting, used }),
      transmitBase: () => {
        asked++;
        return base;
      },
      kickTransmit: () => {
        kicks++;
      },
    };
    watchdog = new Watchdog(subject, () => undefined);
  });

  function looks(count: number, between: () => void = () => undefined) {
    return Array.from({ length: count }, () => {
      const fault = watchdog.look();
      between();
      return fault?.cause;
    });
  }

  it('asks vhost and the worker nothing while frames are completed, or there are none', () => {
    const goOn = () => {
      used += 100;
      cpuTime += SPUN;
    };
    assert.deepEqual(looks(5, goOn), Array(5).fill(undefined));
    waiting = 0;
    assert.deepEqual(looks(5), Array(5).fill(undefined));
    assert.deepEqual({ asked, kicks }, { asked: 0, kicks: 0 });
  });

  it('tells at the third look of a worker that spins, after it was kicked once', () => {
    const spin = () => (cpuTime += SPUN);
    assert.deepEqual(looks(3, spin), [undefined, undefined, 'stuck']);
    assert.equal(kicks, 1);
  });

  it('tells at the third look of a worker that sleeps although there is work', () => {
    sleeps = true;
    assert.deepEqual(looks(3), [undefined, undefined, 'stuck']);
  });

  it('counts the CPU time since nothing moves: a worker that spins may get little of it', () => {
    const spin = () => (cpuTime += SPUN / 4);
    assert.deepEqual(looks(5, spin), [...Array<undefined>(4), 'stuck']);
  });

  it('gives a worker that can not be asked a look more', () => {
    const subject = { worker: undefined, backendLost: () => false, transmitBase: () => base };
    const progress = { transmitProgress: () => ({ waiting, used }), kickTransmit: () => undefined };
    watchdog = new Watchdog({ ...subject, ...progress }, () => undefined);
    assert.deepEqual(looks(4), [...Array<undefined>(3), 'stuck']);
  });

  it('does not blame a worker that gets no CPU', () => {
    assert.deepEqual(looks(6), Array(6).fill(undefined));
  });

  it('counts anew when the kick was all that had been missing', () => {
    sleeps = true;
    assert.deepEqual(looks(2), [undefined, undefined]);
    used = 8;
    assert.deepEqual(looks(2), [undefined, undefined]);
    assert.deepEqual(looks(1), ['stuck']);
  });

  it('lets a worker go on that takes chains and completes none yet', () => {
    const take = () => {
      base++;
      cpuTime += SPUN;
    };
    assert.deepEqual(looks(6, take), Array(6).fill(undefined));
  });

  it('tells of an interface that is gone at once, and asks nothing else', () => {
    lost = true;
    assert.equal(watchdog.look(), BACKEND_LOST);
    assert.equal(asked, 0);
  });

  it('tells of indices that can not be true', () => {
    const fail = () => {
      throw new Error('the device used more than it was given');
    };
    const subject = { worker: undefined, backendLost: () => false, transmitProgress: fail };
    const idle = { transmitBase: () => 0, kickTransmit: () => undefined };
    const fault = new Watchdog({ ...subject, ...idle }, () => undefined).look();
    assert.deepEqual(fault, {
      cause: 'corrupt',
      ring: 'transmit',
      message: 'the device used more than it was given',
    });
  });

  describe('with a sentry', () => {
    let index: Uint16Array;
    let looks: number;

    beforeEach(() => {
      index = Uint16Array.of(8, 0); // avail, used
      looks = 0;
    });
    afterEach(() => {
      watchdog.stop();
    });

    const place = () => ({
      avail: { words: index, at: 0 },
      used: { words: index, at: 1 },
      size: 8,
    });

    /** Settles with what is told of a ring that the sentry sees. */
    function watch(): Promise<string> {
      const worker = { cpuTime: 0, sleeps: true } as unknown as WorkerThread;
      return new Promise((resolve) => {
        const subject = {
          worker,
          backendLost: () => false,
          transmitProgress: () => {
            looks++;
            return { waiting: ((index[0] ?? 0) - (index[1] ?? 0)) & 0xffff, used: index[1] ?? 0 };
          },
          transmitBase: () => base,
          kickTransmit: () => undefined,
          transmitPlace: place,
        };
        watchdog = new Watchdog(subject, ({ cause }) => {
          watchdog.stop();
          resolve(cause);
        });
        watchdog.start();
      });
    }

    it('looks itself only once something stands still', async () => {
      assert.equal(await watch(), 'stuck');
      assert.equal(looks, 2, 'the sentry looked before');
    });

    it('looks itself when the ring has moved, and has the new one looked at', async () => {
      index[1] = 8; // nothing waits
      const told = watch();
      index = Uint16Array.of(8, 0);
      watchdog.ringMoved();
      assert.equal(await told, 'stuck');
      assert.equal(looks, 3);
    });

    it('has it looked at again when the ring goes on', async () => {
      const told = watch();
      const going = setInterval(() => {
        if (looks !== 1) return;
        index[1] = 1; // after the first look at what stood still
        looks = 10;
      }, 1);
      assert.equal(await told, 'stuck');
      clearInterval(going);
      assert.equal(looks, 13, 'one at which it had moved, and two at which it had not');
    });

    it('tells of an interface whose queue somebody closed, and looks on', async () => {
      const backend = new EventFd();
      const faults: string[] = [];
      const subject = {
        worker: undefined,
        backendLost: () => backend.fd === -1,
        transmitProgress: () => ({ waiting: 0, used: 8 }),
        transmitBase: () => base,
        kickTransmit: () => undefined,
        transmitPlace: () => ({ ...place(), backend: backend.descriptor }),
      };
      await new Promise<void>((resolve) => {
        watchdog = new Watchdog(subject, ({ cause }) => {
          if (faults.push(cause) === 2) resolve();
        });
        watchdog.start();
        backend.close();
      });
      assert.deepEqual(faults, ['backend', 'backend']);
    });

    it('goes on from what the sentry saw when somebody blocks the event loop', async () => {
      const told = watch();
      const posted = () => watchdog.rest;
      let before = posted();
      // The sentry's first look, which sees the ring for the first time.
      while (posted() <= before) {
        before = posted();
        await new Promise((resolve) => setImmediate(resolve));
      }
      const end = performance.now() + LONG;
      while (looks < 2 && performance.now() < end) watchdog.lookWhenDue();
      assert.equal(await told, 'stuck');
      assert.equal(looks, 2, 'none that only learned what the sentry knew');
    });

    it('says how long it is until the next look, and that there is none', () => {
      void watch();
      assert.ok(watchdog.rest > 0 && watchdog.rest <= 300);
      watchdog.stop();
      assert.equal(watchdog.rest, Infinity);
    });
  });

  describe('in its own time', () => {
    let now: number;
    let at: number[];

    beforeEach(() => {
      now = 0;
      at = [];
      mock.method(performance, 'now', () => now);
      mock.timers.enable({ apis: ['setTimeout'] });
    });
    afterEach(() => {
      watchdog.stop();
      mock.timers.reset();
      mock.restoreAll();
    });

    function watch(onFault: (cause: string) => void): void {
      const worker = { cpuTime: 0, sleeps: true } as unknown as WorkerThread;
      const transmitProgress = () => {
        at.push(now);
        return { waiting, used };
      };
      const idle = { transmitBase: () => base, kickTransmit: () => undefined };
      const subject = { worker, backendLost: () => false, transmitProgress, ...idle };
      watchdog = new Watchdog(subject, ({ cause }) => {
        onFault(cause);
      });
      watchdog.start();
    }

    function pass(milliseconds: number, step: () => void): void {
      for (const end = now + milliseconds; now < end;) {
        now += 50;
        step();
      }
    }

    const tick = () => {
      mock.timers.tick(50);
    };
    const attend = () => {
      watchdog.lookWhenDue();
    };

    for (const [who, step] of [
      ['its timer', tick],
      ['somebody who blocks it', attend],
    ] as const) {
      it(`looks sooner once something stands still, and not any more once it is stopped, by ${who}`, () => {
        const told: string[] = [];
        watch((cause) => {
          told.push(cause);
          watchdog.stop();
        });
        pass(2000, step);
        assert.deepEqual({ at, told }, { at: [300, 600, 700], told: ['stuck'] });
      });
    }

    it('sees anew what goes on after it was told', () => {
      watch(() => undefined);
      pass(1100, tick);
      assert.deepEqual(at, [300, 600, 700, 1000, 1100]);
    });

    it('says how long it is until the next look', () => {
      watch(() => undefined);
      assert.equal(watchdog.rest, 300);
      pass(250, tick);
      assert.equal(watchdog.rest, 50);
      watchdog.stop();
      assert.equal(watchdog.rest, Infinity);
    });
  });
});
