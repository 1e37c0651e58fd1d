import assert from 'node:assert/strict';
import { once } from 'node:events';

import { TestNetwork } from '../support/network.js';
import { PatternFrames } from '../support/pattern.js';
import { describeWith } from '../support/requirements.js';
import { Tap } from '#lib/backend/tap';
import { checkPortOptions } from '#lib/port/options';
import { Port, openPort } from '#lib/port/port';
import type { Frame } from '#lib/port/frame';
import type { ReceiveBatch } from '#lib/port/receive';

const A = [2, 0, 0, 0, 0, 0xa];
const B = [2, 0, 0, 0, 0, 0xb];

describeWith(['vhost', 'tun', 'root'], 'Port', () => {
  let network: TestNetwork;
  let a: Port;
  let b: Port;
  let patterns: PatternFrames;

  beforeEach(async () => {
    network = new TestNetwork();
    patterns = new PatternFrames(B, A);
    a = await openPort({ backend: { tap: 'a', netns: network.name }, queueSize: 64 });
    b = await openPort({ backend: { tap: 'b', netns: network.name }, queueSize: 64, poison: true });
    network.bridge('a', 'b');
  });
  afterEach(async () => {
    await a.close();
    await b.close();
    network.close();
  });

  /** Takes pattern frames from b until `count` came; what `take` made of each. */
  function collect<T>(count: number, take: (frame: Frame, batch: ReceiveBatch) => T): Promise<T[]> {
    const results: T[] = [];
    return new Promise((resolve) => {
      b.on('receive', (batch) => {
        for (const frame of batch) {
          if (PatternFrames.is(frame.first)) results.push(take(frame, batch));
        }
        if (results.length >= count) resolve(results);
      });
    });
  }

  /** Counts the pattern frames of `port`; the answer waits until `wanted` have come in all. */
  function counting(port: Port): (wanted: number) => Promise<void> {
    let count = 0;
    let look = (): void => undefined;
    port.on('receive', (batch) => {
      for (const frame of batch) if (PatternFrames.is(frame.first)) count++;
      look();
    });
    return (wanted) =>
      new Promise((resolve) => {
        look = () => {
          if (count >= wanted) resolve();
        };
        look();
      });
  }

  /** Sends from `a` to `b`, never more at a time than a tap's queue holds: what is beyond is lost there. */
  async function paced(count: number, send: (from: number, to: number) => number): Promise<void> {
    const received = counting(b);
    for (let taken = 0; taken < count;) {
      const to = Math.min(taken + 300, count);
      taken += send(taken, to);
      const drain = taken < to ? once(a, 'drain') : undefined;
      await received(taken);
      await drain;
    }
  }

  it('send() returns false when the ring is full, takes nothing then, and drain comes', async () => {
    let taken = 0;
    while (a.send(patterns.make(taken))) taken++;
    assert.ok(taken >= 64);
    const { transmit } = a.statistics();
    assert.equal(transmit.frames, taken);
    assert.equal(transmit.full, 1);
    await once(a, 'drain');
    assert.equal(a.send(patterns.make(taken)), true);
    await a.drained();
    assert.equal(a.statistics().transmit.inFlight, 0);
  });

  it('close() takes down what it can, says so, and rejects with what failed', async () => {
    const tap = Tap.open({ tap: 'c', netns: network.name });
    const close = tap.close.bind(tap);
    tap.close = () => {
      close();
      throw new Error('not today');
    };
    const port = await openPort({ backend: tap, queueSize: 64 });
    let closed = 0;
    port.on('close', () => closed++);
    await assert.rejects(port.close(), /not today/);
    await port.close();
    assert.equal(closed, 1);
  });

  it('tells what fails when its signal closes it, all of it, as an error event', async () => {
    const controller = new AbortController();
    const tap = Tap.open({ tap: 'c', netns: network.name });
    const close = tap.close.bind(tap);
    tap.close = () => {
      close();
      throw new Error('no tap today');
    };
    const options = { backend: tap, queueSize: 64, signal: controller.signal };
    const plug = { remove: () => Promise.reject(new Error('no plug today')) };
    const port = Port.open({ ...checkPortOptions(options), plug });
    const failed = once(port, 'error');
    controller.abort();
    const [error] = (await failed) as [AggregateError];
    assert.deepEqual(
      error.errors.map(({ message }: Error) => message),
      ['no tap today', 'no plug today'],
    );
    await assert.rejects(port.close(), /no plug today/);
  });

  it('sends what was written in place to a reservation, and refuses to send it twice', async () => {
    const got = collect(1, (frame) => Buffer.from(frame.bytes));
    const wanted = patterns.make(7);
    const reservation = a.reserve(wanted.length);
    assert.ok(reservation);
    reservation.bytes.set(wanted);
    a.commit(reservation);
    assert.throws(() => a.commit(reservation), TypeError);
    assert.deepEqual(await got, [wanted]);
  });

  it('sendBatch() takes from the first on, and says how many', async () => {
    const got = collect(30, (frame) => patterns.check(frame.bytes));
    const frames = Array.from({ length: 30 }, (_, i) => Buffer.from(patterns.make(i)));
    assert.equal(a.sendBatch(frames), 30);
    assert.deepEqual(
      await got,
      frames.map((_, i) => i),
    );
    // How many of these go in at once is up to the worker, which empties the ring meanwhile.
    const many = Array.from({ length: 1000 }, (_, i) => Buffer.from(patterns.make(i)));
    const all = collect(many.length, (frame) => patterns.check(frame.bytes));
    const before = a.statistics().transmit.frames;
    await paced(many.length, (from, to) => a.sendBatch(many.slice(from, to)));
    assert.equal(a.statistics().transmit.frames, before + many.length);
    assert.deepEqual(
      await all,
      many.map((_, i) => i),
    );
  });

  it('sendBatch() takes packed frames too, whole and in their order', async () => {
    const LENGTH = 64;
    const COUNT = 5000;
    const packed = new Uint8Array(COUNT * LENGTH);
    for (let i = 0; i < COUNT; i++) {
      const frame = Buffer.from(packed.buffer, i * LENGTH, LENGTH);
      patterns.make(0).copy(frame);
      frame.writeUInt32BE(i, 60);
    }
    const got = collect(COUNT, (frame) => {
      const bytes = Buffer.from(frame.bytes);
      return { number: bytes.readUInt32BE(60), rest: bytes.subarray(0, 60).toString('hex') };
    });
    const before = a.statistics().transmit;
    await paced(COUNT, (from, to) => {
      const bytes = packed.subarray(from * LENGTH, to * LENGTH);
      return a.sendBatch({ bytes, frameLength: LENGTH });
    });
    const rest = patterns.make(0).toString('hex');
    assert.deepEqual(
      await got,
      Array.from({ length: COUNT }, (_, number) => ({ number, rest })),
    );
    const { frames, bytes } = a.statistics().transmit;
    assert.deepEqual([frames - before.frames, bytes - before.bytes], [COUNT, packed.length]);
  });

  it('sendInPlace() sends what is written to its runs, whole and in their order', async () => {
    const LENGTH = 64;
    const COUNT = 5000;
    const template = patterns.make(0).subarray(0, 60);
    const got = collect(COUNT, (frame) => {
      const bytes = Buffer.from(frame.bytes);
      return { number: bytes.readUInt32BE(60), rest: bytes.subarray(0, 60).toString('hex') };
    });
    await paced(COUNT, (from, to) =>
      a.sendInPlace(to - from, LENGTH, ({ bytes, stride, count, index }) => {
        bytes.fill(0xff); // also what lies between, which is none of the frames
        for (let i = 0; i < count; i++) {
          const frame = Buffer.from(bytes.buffer, bytes.byteOffset + i * stride, LENGTH);
          template.copy(frame);
          frame.writeUInt32BE(from + index + i, 60);
        }
      }),
    );
    const rest = template.toString('hex');
    assert.deepEqual(
      await got,
      Array.from({ length: COUNT }, (_, number) => ({ number, rest })),
    );
  });

  it('frames are borrowed: their slots are overwritten after the handler, unless they are held', async () => {
    const got = collect(2, (frame) => {
      const sequence = patterns.check(frame.bytes);
      return { view: frame.bytes, frame: sequence === 1 ? frame.hold() : frame };
    });
    a.send(patterns.make(0));
    a.send(patterns.make(1));
    const [borrowed, held] = await got;
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(
      borrowed?.view.every((byte) => byte === 0xdb),
      'poisoned',
    );
    assert.equal(patterns.check(held?.view ?? new Uint8Array(0)), 1);
    assert.equal(b.statistics().receive.held, 1);
    held?.frame.release();
    held?.frame.release();
    assert.equal(b.statistics().receive.held, 0);
    assert.ok(held?.view.every((byte) => byte === 0xdb));
  });

  it('a frame held and released within its handler goes back once', async () => {
    const frames = 500;
    const got = collect(frames, (frame) => {
      frame.hold().release();
      return patterns.check(frame.bytes);
    });
    for (let i = 0; i < frames; i++) {
      while (!a.send(patterns.make(i))) await once(a, 'drain');
      if (i % 32 === 0) await a.drained();
    }
    assert.deepEqual(
      await got,
      Array.from({ length: frames }, (_, i) => i),
    );
  });

  it('for await yields copies in order, and ends at close()', async () => {
    const seen: number[] = [];
    for (let i = 0; i < 40; i++) a.send(patterns.make(i));
    for await (const { bytes } of b) {
      if (!PatternFrames.is(bytes)) continue;
      seen.push(patterns.check(bytes));
      if (seen.length === 40) await b.close();
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 40 }, (_, i) => i),
    );
  });

  it('a loop that breaks leaves the port open and its frames to others', async () => {
    a.send(patterns.make(0));
    for await (const { bytes } of b) if (PatternFrames.is(bytes)) break;
    const got = collect(1, (frame) => patterns.check(frame.bytes));
    a.send(patterns.make(1));
    assert.deepEqual(await got, [1]);
    assert.equal(b.closed, false);
  });

  it('a handler that is added after removeAllListeners() gets what comes', async () => {
    for (const remove of [
      () => b.removeAllListeners(),
      () => b.removeAllListeners('newListener'),
    ]) {
      b.on('receive', () => undefined);
      remove();
      b.removeAllListeners('receive');
      a.send(patterns.make(0));
      await a.drained();
      await new Promise((resolve) => setImmediate(resolve));
      assert.deepEqual(await collect(1, (frame) => patterns.check(frame.bytes)), [0]);
    }
  });

  it('pause() leaves frames in the ring, resume() brings them', async () => {
    let count = 0;
    const got = collect(10, () => count++);
    b.pause();
    for (let i = 0; i < 10; i++) a.send(patterns.make(i));
    await a.drained();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(count, 0);
    b.resume();
    assert.equal((await got).length, 10);
  });

  it('polls: frames come without a call, where another port is called for each', async () => {
    const poller = await openPort({
      backend: { tap: 'poller', netns: network.name },
      pollMicroseconds: 1_000_000,
      workerPollMicroseconds: 50,
    });
    network.ip('link', 'set', 'dev', 'poller', 'master', 'br0');
    const polled = counting(poller);
    // The first may be found before the call for it is counted; from the second on none is asked for.
    for (const count of [1, 2]) {
      a.send(patterns.make(0));
      await polled(count);
    }
    const { calls } = poller.statistics().receive;
    const calledFor = counting(b);
    await calledFor(2);
    const called = b.statistics().receive.calls;
    for (let i = 0; i < 18; i++) {
      a.send(patterns.make(i));
      await a.drained();
    }
    await Promise.all([polled(20), calledFor(20)]);
    assert.equal(poller.statistics().receive.calls, calls);
    assert.ok(b.statistics().receive.calls > called);
    await poller.close();
  });

  it('may be closed in a receive handler, in the middle of a batch', async () => {
    const done = new Promise<number>((resolve) => {
      b.on('receive', (batch) => {
        void b.close();
        const [first] = batch;
        resolve(first?.bytes.length ?? -1);
      });
    });
    for (let i = 0; i < 20; i++) a.send(patterns.make(i));
    assert.equal(await done, 0, 'a view after close()');
    assert.equal(b.closed, true);
  });

  it('may be sent to in a drain handler until it is full again', async () => {
    let sent = 0;
    const fill = () => {
      while (sent < 2000 && a.send(patterns.make(sent))) sent++;
    };
    a.on('drain', fill);
    fill();
    while (sent < 2000) await once(a, 'drain');
    await a.drained();
    assert.equal(a.statistics().transmit.frames, 2000);
  });

  it('goes on after a handler that throws, with the frames behind it', async () => {
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    const thrown = once(process, 'uncaughtException');
    try {
      let first = true;
      const got = collect(2, (frame) => {
        const sequence = patterns.check(frame.bytes);
        if (first) {
          first = false;
          throw new Error('from a handler');
        }
        return sequence;
      });
      a.send(patterns.make(0));
      const [error] = (await thrown) as [Error];
      assert.equal(error.message, 'from a handler');
      a.send(patterns.make(1));
      a.send(patterns.make(2));
      assert.deepEqual(await got, [1, 2]);
    } finally {
      listeners.forEach((listener) => process.on('uncaughtException', listener));
    }
  });

  it('refuses frames and headers that would wedge the worker, and works on', async () => {
    const frame = patterns.make(0);
    const plain = { flags: 0, gsoType: 0, hdrLen: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 };
    assert.throws(() => a.send(new Uint8Array(13)), RangeError);
    assert.throws(() => a.send(new Uint8Array(a.longestFrame + 1)), RangeError);
    assert.throws(() => a.send('frame' as never), TypeError);
    assert.throws(() => a.send(frame, { ...plain, flags: 1, csumStart: 60 }), RangeError);
    assert.throws(() => a.send(frame, { ...plain, gsoType: 1, gsoSize: 1000 }), RangeError);
    assert.throws(() => a.reserve(0), RangeError);
    const got = collect(1, (one) => patterns.check(one.bytes));
    a.send(frame);
    assert.deepEqual(await got, [0]);
  });
});

describeWith(['vhost', 'tun', 'root'], 'openPort() options', () => {
  const wrong: readonly (readonly [option: string, options: unknown, error: RegExp])[] = [
    ['no object', undefined, /options must be an object/],
    ['no backend', {}, /backend must be an object/],
    ['an unknown option', { backend: { tap: 'x' }, queuesize: 4 }, /unknown option 'queuesize'/],
    ['an unknown tap option', { backend: { tap: 'x', adresses: [] } }, /unknown option 'adresses'/],
    [
      'queueSize',
      { backend: { tap: 'x' }, queueSize: 1000 },
      /queueSize must be a power of 2.*1000/,
    ],
    [
      'queueSize',
      { backend: { tap: 'x' }, queueSize: '64' },
      /queueSize must be an integer, got '64'/,
    ],
    ['offloads', { backend: { tap: 'x' }, offloads: 'all' }, /offloads must be.*'all'/],
    ['signal', { backend: { tap: 'x' }, signal: {} }, /signal must be an AbortSignal/],
    [
      'pollMicroseconds',
      { backend: { tap: 'x' }, pollMicroseconds: -1 },
      /pollMicroseconds must be an integer in 0\.\.1000000, got -1/,
    ],
    [
      'workerPollMicroseconds',
      { backend: { tap: 'x' }, workerPollMicroseconds: '5' },
      /workerPollMicroseconds must be a number, got '5'/,
    ],
    [
      'coalesceFrames',
      { backend: { tap: 'x' }, queueSize: 64, coalesceFrames: 65 },
      /coalesceFrames must be an integer in 1\.\.64, got 65/,
    ],
    ['repair', { backend: { tap: 'x' }, repair: 0 }, /repair must be a boolean, got 0/],
    ['poison', { backend: { tap: 'x' }, poison: 1 }, /poison must be a boolean, got 1/],
    ['tap', { backend: { tap: 'a-name-that-is-too-long' } }, /tap must be a name of 1 to 15 bytes/],
    ['tap', { backend: { tap: 5 } }, /tap must be a string, got 5/],
    ['addresses', { backend: { tap: 'x', addresses: ['10.0.0.300/24'] } }, /addresses must be/],
    ['addresses', { backend: { tap: 'x', addresses: ['10.0.0.1'] } }, /addresses must be/],
    ['mtu', { backend: { tap: 'x', mtu: 60 } }, /mtu must be an integer in 68..65521, got 60/],
    ['mac', { backend: { tap: 'x', mac: '02:00' } }, /mac must be six hexadecimal bytes/],
    ['netns', { backend: { tap: 'x', netns: 5 } }, /netns must be a string, got 5/],
    ['up', { backend: { tap: 'x', up: 'yes' } }, /up must be a boolean, got 'yes'/],
    ['persistent', { backend: { tap: 'x', persistent: 1 } }, /persistent must be a boolean/],
  ];
  for (const [what, options, message] of wrong) {
    it(`name what does not fit: ${what}`, async () => {
      await assert.rejects(openPort(options as never), (error: Error) => {
        assert.ok(error instanceof TypeError || error instanceof RangeError);
        assert.match(error.message, message);
        return true;
      });
    });
  }

  it('set addresses, MTU and MAC of the tap, in a namespace', async () => {
    const network = new TestNetwork();
    const port = await openPort({
      backend: {
        tap: 'vn%d',
        addresses: ['10.9.0.1/24', '192.168.7.1/30'],
        mtu: 1400,
        mac: '02:00:00:00:00:77',
        netns: network.name,
      },
    });
    assert.equal(port.name, 'vn0');
    const { link } = port.statistics();
    assert.equal(link.mtu, 1400);
    assert.equal(link.mac, '02:00:00:00:00:77');
    assert.equal(link.up && link.carrier, true);
    const addresses = network.ip('-br', 'addr', 'show', 'vn0');
    assert.match(addresses, /10\.9\.0\.1\/24 192\.168\.7\.1\/30/);
    assert.equal(port.longestFrame, 1418);
    await port.close();
    network.close();
  });
});
