import assert from 'node:assert/strict';
import { once } from 'node:events';

import { TestNetwork } from '../support/network.js';
import { PatternFrames } from '../support/pattern.js';
import { describeWith } from '../support/requirements.js';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';

const FRAMES = Number(process.env['VHOST_STREAM_FRAMES'] ?? 1_000_000);
const A = [2, 0, 0, 0, 0, 0xa];
const B = [2, 0, 0, 0, 0, 0xb];

/** Frames on their way; well below what a tap queues, so that nothing has a reason to be dropped. */
const WINDOW = 256;

/** One direction: who sends, who receives, and what came of it. */
class Stream {
  sent = 0;
  received = 0;
  altered = 0;
  reordered = 0;
  readonly #patterns: PatternFrames;
  readonly #checks: PatternFrames;
  readonly #from: Port;
  #done: () => void = () => undefined;

  constructor(from: Port, to: Port, destination: number[], source: number[]) {
    this.#from = from;
    this.#patterns = new PatternFrames(destination, source);
    this.#checks = new PatternFrames(destination, source);
    to.on('receive', (batch) => {
      for (const frame of batch) {
        if (PatternFrames.is(frame.bytes)) this.#take(frame.bytes);
      }
      this.pump();
    });
    from.on('drain', () => {
      this.pump();
    });
  }

  finished(): Promise<void> {
    return new Promise((resolve) => {
      this.#done = resolve;
      this.pump();
    });
  }

  pump(): void {
    while (this.sent < FRAMES && this.sent - this.received < WINDOW) {
      if (!this.#from.send(this.#patterns.make(this.sent))) return;
      this.sent++;
    }
  }

  #take(bytes: Uint8Array): void {
    const sequence = this.#checks.check(bytes);
    if (sequence < 0) this.altered++;
    else if (sequence !== this.received) this.reordered++;
    if (++this.received === FRAMES) this.#done();
  }
}

function losses(port: Port): Record<string, number> {
  const { link } = port.statistics();
  const { receiveDropped, receiveErrors, transmitDropped, transmitErrors } = link.counters;
  return { receiveDropped, receiveErrors, transmitDropped, transmitErrors };
}

const NONE = { receiveDropped: 0, receiveErrors: 0, transmitDropped: 0, transmitErrors: 0 };

describeWith(['vhost', 'tun', 'root'], 'streams between two ports on one Ethernet', function () {
  let network: TestNetwork;
  let a: Port;
  let b: Port;

  before(async () => {
    network = new TestNetwork();
    a = await openPort({ backend: { tap: 'a', netns: network.name }, poison: true });
    b = await openPort({ backend: { tap: 'b', netns: network.name }, poison: true });
    network.bridge('a', 'b');
  });
  after(async () => {
    await a.close();
    await b.close();
    network.close();
  });
  afterEach(() => {
    for (const port of [a, b]) port.removeAllListeners('receive').removeAllListeners('drain');
  });

  it(`carries ${String(FRAMES)} frames of mixed sizes each way: none lost, reordered or altered`, async function () {
    this.timeout(420_000);
    const there = new Stream(a, b, B, A);
    const back = new Stream(b, a, A, B);
    await Promise.all([there.finished(), back.finished()]);
    for (const { sent, received, altered, reordered } of [there, back]) {
      assert.deepEqual(
        { sent, received, altered, reordered },
        {
          sent: FRAMES,
          received: FRAMES,
          altered: 0,
          reordered: 0,
        },
      );
    }
    assert.deepEqual(losses(a), NONE);
    assert.deepEqual(losses(b), NONE);
    assert.equal(a.statistics().transmit.full, 0);
    assert.equal(b.statistics().transmit.full, 0);
  });

  it('at full speed loses nothing that is not in a counter', async function () {
    this.timeout(120_000);
    const frames = 300_000;
    const patterns = new PatternFrames(B, A);
    const checks = new PatternFrames(B, A);
    let received = 0;
    let last = -1;
    let wrong = 0;
    b.on('receive', (batch) => {
      for (const frame of batch) {
        const sequence = PatternFrames.is(frame.bytes) ? checks.check(frame.bytes) : -2;
        if (sequence === -2) continue;
        if (sequence <= last) wrong++;
        last = sequence;
        received++;
      }
    });
    let refused = 0;
    const fullBefore = a.statistics().transmit.full;
    for (let sent = 0; sent < frames;) {
      if (a.send(patterns.make(sent))) {
        sent++;
        continue;
      }
      refused++;
      await once(a, 'drain');
    }
    await a.drained();
    const accounted = () => received + b.statistics().link.counters.transmitDropped;
    // The last frames are on their way; each is either received or counted as dropped.
    while (accounted() < frames) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(wrong, 0);
    assert.equal(accounted(), frames);
    assert.equal(a.statistics().transmit.full - fullBefore, refused);
    assert.ok(refused > 0, 'the sender was never faster than the worker');
    assert.deepEqual(losses(a), NONE);
  });
});
