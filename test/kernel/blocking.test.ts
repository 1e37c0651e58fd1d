import assert from 'node:assert/strict';
import { once } from 'node:events';
import path from 'node:path';
import { Worker } from 'node:worker_threads';

import { TestNetwork } from '../support/network.js';
import { PatternFrames } from '../support/pattern.js';
import { processState } from '../support/process-state.js';
import { describeWith, itLong } from '../support/requirements.js';
import { Scribbler } from '../support/scribble.js';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';
import type { Frame } from '#lib/port/frame';
import type { RepairReport } from '#lib/port/recovery';

const A = [2, 0, 0, 0, 0, 0xa];
const B = [2, 0, 0, 0, 0, 0xb];
const SIZE = 64;
const TRANSMIT = 1;
const LONG = 10_000;

describeWith(['vhost', 'tun', 'root'], 'blocking calls', () => {
  let network: TestNetwork;
  let scribbler: Scribbler;
  let a: Port;
  let b: Port;
  let patterns: PatternFrames;
  let got: number[];

  beforeEach(async () => {
    network = new TestNetwork();
    patterns = new PatternFrames(B, A);
    got = [];
    const open = (tap: string) =>
      openPort({
        backend: { tap, netns: network.name },
        queueSize: SIZE,
        blockMainThread: true,
      });
    b = await open('b');
    scribbler = new Scribbler();
    a = await open('a');
    network.bridge('a', 'b');
    b.on('receive', (batch) => {
      for (const { bytes } of batch) if (PatternFrames.is(bytes)) got.push(patterns.check(bytes));
    });
  });
  afterEach(async () => {
    scribbler.close();
    await a.close();
    await b.close();
    network.close();
  });

  function receive(count: number): void {
    while (got.length < count) assert.ok(b.receiveBlocking(LONG) > 0, 'the time is over');
  }

  const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

  it('carry many times what a ring holds, with no turn of the event loop', () => {
    const frames = 10 * SIZE;
    for (let i = 0; i < frames; i++) assert.equal(a.sendBlocking(patterns.make(i), LONG), true);
    assert.equal(a.drainedBlocking(LONG), true);
    assert.equal(a.statistics().transmit.inFlight, 0);
    receive(frames);
    assert.deepEqual(got, numbers(frames));
  });

  it('let go what was sent before they wait', () => {
    a.send(patterns.make(0));
    a.on('receive', () => undefined);
    assert.equal(a.receiveBlocking(0), 0);
    receive(1);
  });

  it('come back when the time is over, and not much before', () => {
    const began = performance.now();
    assert.equal(b.receiveBlocking(0), 0);
    assert.equal(b.receiveBlocking(50), 0);
    assert.ok(performance.now() - began >= 50);
  });

  it('say false when the ring stays full, and take nothing', () => {
    a.send(patterns.make(0));
    scribbler.descriptors(TRANSMIT, SIZE, { length: 8 }); // the worker does not get past it
    let taken = 1;
    while (a.sendBlocking(patterns.make(taken), 0)) taken++;
    assert.equal(a.sendBlocking(patterns.make(taken), 10), false);
    assert.equal(a.statistics().transmit.frames, taken);
  });

  it('keep the batch of a handler that waits while its port is repaired: nothing comes twice', () => {
    const toA = new PatternFrames(A, B);
    const seen: number[] = [];
    a.on('receive', (batch) => {
      const frames = Array.from(batch).filter(({ bytes }) => PatternFrames.is(bytes));
      const numbers = () => frames.map(({ bytes }) => toA.check(bytes));
      seen.push(...numbers());
      if (seen.length !== 3) return;
      const before = numbers();
      network.ip('link', 'del', 'dev', 'a');
      for (let i = 0; i < 2 * SIZE; i++) assert.equal(a.sendBlocking(patterns.make(i), LONG), true);
      assert.deepEqual(numbers(), before);
    });
    for (let i = 0; i < 3; i++) b.send(toA.make(i));
    b.flush();
    while (seen.length < 3) assert.ok(a.receiveBlocking(LONG) > 0, 'the time is over');
    assert.equal(a.statistics().repairs, 1);
    network.ip('link', 'set', 'dev', 'a', 'master', 'br0');
    b.send(toA.make(3));
    b.flush();
    while (seen.length < 4) assert.ok(a.receiveBlocking(LONG) > 0, 'the time is over');
    assert.deepEqual(seen, [0, 1, 2, 3]);
  });

  it('take back what they sent from where it was received, when there is nothing else to receive in', async () => {
    const open = { queueSize: 16, blockMainThread: true };
    const c = await openPort({ backend: { tap: 'c', netns: network.name }, ...open });
    let seen = 0;
    c.on('receive', (batch) => {
      for (const frame of batch) {
        if (PatternFrames.is(frame.bytes)) seen++;
        c.forward(frame);
      }
    });
    network.ip('link', 'set', 'dev', 'c', 'master', 'br0');
    const frames = 3 * open.queueSize;
    for (let i = 0; i < frames; i++) assert.equal(a.sendBlocking(patterns.make(i), LONG), true);
    assert.equal(a.drainedBlocking(LONG), true);
    while (seen < frames) assert.ok(c.receiveBlocking(LONG) > 0, 'the time is over');
    await c.close();
  });

  it('receive in what was released between two of them, and nowhere else', () => {
    const held: Frame[] = [];
    b.on('receive', (batch) => {
      for (const frame of batch) held.push(frame.hold());
    });
    const frames = 3 * SIZE;
    for (let i = 0; i < frames; i++) assert.equal(a.sendBlocking(patterns.make(i), LONG), true);
    assert.equal(a.drainedBlocking(LONG), true);
    while (got.length < frames) {
      assert.ok(b.receiveBlocking(LONG) > 0, 'the time is over');
      if (held.length >= SIZE) for (const frame of held.splice(0)) frame.release();
    }
    assert.deepEqual(got, numbers(frames));
  });

  it('end with the error of a port that nobody mends', async () => {
    const backend = { tap: 'c', netns: network.name };
    const c = await openPort({ backend, repair: false, blockMainThread: true });
    const errors: Error[] = [];
    c.on('error', (error) => errors.push(error));
    c.on('receive', () => undefined);
    network.ip('link', 'del', 'dev', 'c');
    const lost = { code: 'ERR_VHOST_BACKEND_LOST' };
    assert.throws(() => {
      while (c.receiveBlocking(LONG) > 0);
    }, lost);
    assert.throws(() => c.receiveBlocking(LONG), lost);
    assert.throws(() => {
      while (c.sendBlocking(patterns.make(0), LONG));
    }, lost);
    assert.throws(() => c.drainedBlocking(LONG), lost);
    assert.equal(errors.length, 1);
    await c.close();
  });

  it('leave drain to who waits for it in the event loop', async () => {
    while (a.send(patterns.make(0)));
    const drain = once(a, 'drain', { signal: AbortSignal.timeout(LONG) });
    assert.equal(a.drainedBlocking(LONG), true);
    await drain;
  });

  for (const [what, cause, spoil] of [
    [
      'a ring that the kernel gives up',
      'kernel',
      () => scribbler.descriptors(TRANSMIT, SIZE, { address: 2n ** 40n }),
    ],
    ['a worker that spins', 'stuck', () => scribbler.descriptors(TRANSMIT, SIZE, { length: 8 })],
    ['a tap that is deleted', 'backend', () => network.ip('link', 'del', 'dev', 'a')],
  ] as const) {
    it(`mend ${what} meanwhile, within a second`, () => {
      const reports: (RepairReport | undefined)[] = [];
      a.on('repair', (report) => reports.push(report));
      for (let i = 0; i < 10; i++) a.send(patterns.make(i));
      const began = performance.now();
      spoil();
      assert.throws(() => a.drainedBlocking(LONG), { code: 'ERR_VHOST_FRAMES_LOST' });
      assert.ok(performance.now() - began < 1000);
      const [report, ...more] = reports;
      assert.ok(report);
      assert.deepEqual({ cause: report.cause, more }, { cause, more: [] });
      assert.equal(a.statistics().transmit.lost, report.unsent + report.unknown);
      if (cause === 'backend') network.ip('link', 'set', 'dev', 'a', 'master', 'br0');
      got = [];
      for (let i = 0; i < 10; i++) a.send(patterns.make(i));
      assert.equal(a.drainedBlocking(LONG), true);
      receive(10);
    });
  }

  it('are refused on the main thread, in a handler, without one, and after close()', async () => {
    const port = await openPort({ backend: { tap: 'c', netns: network.name } });
    const state = { code: 'ERR_VHOST_STATE' };
    for (const call of [
      () => port.receiveBlocking(0),
      () => port.sendBlocking(patterns.make(0), 0),
      () => port.drainedBlocking(0),
    ]) {
      assert.throws(call, { ...state, message: /blockMainThread: true/ });
    }
    await port.close();
    assert.throws(() => a.receiveBlocking(0), { ...state, message: /no 'receive' handler/ });
    assert.throws(() => b.receiveBlocking(NaN), RangeError);
    assert.throws(() => b.receiveBlocking('1' as never), TypeError);
    const nested: unknown[] = [];
    b.on('receive', () => {
      try {
        b.receiveBlocking(0);
      } catch (error) {
        nested.push((error as NodeJS.ErrnoException).code);
      }
    });
    a.send(patterns.make(0));
    a.flush();
    receive(1);
    assert.deepEqual(nested, [state.code]);
    await b.close();
    assert.throws(() => b.receiveBlocking(0), { code: 'ERR_VHOST_CLOSED' });
  });

  async function startWorker(frames: number): Promise<Worker> {
    const worker = new Worker(path.join(__dirname, 'blocking.worker.js'), {
      workerData: [network.name, frames],
    });
    await once(worker, 'message');
    network.ip('link', 'set', 'dev', 'worker', 'master', 'br0');
    return worker;
  }

  itLong('serve a Worker without an event loop', async () => {
    const frames = 500; // fewer than a tap queues, so that none has a reason to be dropped
    const worker = await startWorker(frames);
    const answered = once(worker, 'message');
    for (let i = 0; i < frames;) {
      if (a.send(patterns.make(i))) i++;
      else await once(a, 'drain');
    }
    assert.deepEqual(await answered, [frames]);
    await once(worker, 'exit');
  });

  itLong('do not keep a Worker from being terminated', async () => {
    await (await startWorker(1)).terminate(); // what Workers share is there from now on
    const before = processState();
    await (await startWorker(1)).terminate();
    assert.deepEqual(processState(), before);
  });
});
