import assert from 'node:assert/strict';
import { once } from 'node:events';

import { TestNetwork } from '../support/network.js';
import { PatternFrames } from '../support/pattern.js';
import { processState } from '../support/process-state.js';
import type { ProcessState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';
import type { Frame } from '#lib/port/frame';
import type { ReceiveBatch } from '#lib/port/receive';
import type { RepairReport } from '#lib/port/recovery';
import { VhostNet } from '#lib/sys/vhost-net';

const A = [2, 0, 0, 0, 0, 0xa];
const B = [2, 0, 0, 0, 0, 0xb];
const SIZE = 64;

/** generator → Ethernet → left ⇒ right → Ethernet → sink, where ⇒ is forwarding. */
describeWith(['vhost', 'tun', 'root'], 'forwarding between two ports', () => {
  let before: ProcessState;
  let networks: TestNetwork[];
  let generator: Port;
  let left: Port;
  let right: Port;
  let sink: Port;
  let tables: number[];
  const { setMemTable } = Object.getOwnPropertyDescriptors(VhostNet.prototype);

  beforeEach(async () => {
    before = processState();
    tables = [];
    VhostNet.prototype.setMemTable = function (rows) {
      tables.push(rows.length);
      setMemTable.value?.call(this, rows);
    };
    const [first, second] = (networks = [new TestNetwork(), new TestNetwork()]);
    assert.ok(first && second);
    const open = (tap: string, netns: string) =>
      openPort({ backend: { tap, netns, mtu: 9000 }, queueSize: SIZE, poison: true });
    generator = await open('generator', first.name);
    left = await open('left', first.name);
    right = await open('right', second.name);
    sink = await open('sink', second.name);
    first.bridge('generator', 'left');
    second.bridge('right', 'sink');
    left.on('receive', (batch) => {
      for (const frame of batch) right.forward(frame);
    });
  });
  afterEach(async () => {
    Object.defineProperties(VhostNet.prototype, { setMemTable });
    for (const port of [generator, left, right, sink]) await port.close();
    for (const network of networks) network.close();
    assert.deepEqual(processState(), before);
  });

  /** Pattern frames at the sink, until `count` came: their numbers, -1 for an altered one. */
  function arrive(patterns: PatternFrames, count: number): Promise<number[]> {
    const numbers: number[] = [];
    return new Promise((resolve) => {
      sink.on('receive', (batch) => {
        for (const frame of batch) {
          if (PatternFrames.is(frame.first)) numbers.push(patterns.check(frame.bytes));
        }
        if (numbers.length >= count) resolve(numbers);
      });
    });
  }

  /** The next frame of 9,000 bytes at the sink. */
  function longFrame(): Promise<Buffer> {
    return new Promise((resolve) => {
      const look = (batch: ReceiveBatch) => {
        for (const one of batch) {
          if (one.length !== 9000) continue;
          sink.off('receive', look);
          resolve(Buffer.from(one.bytes));
        }
      };
      sink.on('receive', look);
    });
  }

  /** Sends so slowly that no queue on the way overflows. */
  async function generate(patterns: PatternFrames, count: number): Promise<void> {
    let arrived = 0;
    sink.on('receive', (batch) => (arrived += batch.length));
    for (let i = 0; i < count;) {
      if (i - arrived < SIZE / 4) generator.send(patterns.make(i++));
      else await once(sink, 'receive');
    }
  }

  it('sends frames from where they were received: both memories are in one table, every byte arrives', async () => {
    const patterns = new PatternFrames(B, A);
    const count = 5000;
    const numbers = arrive(patterns, count);
    await generate(patterns, count);
    assert.deepEqual(
      await numbers,
      Array.from({ length: count }, (_, i) => i),
    );
    assert.equal(tables.filter((rows) => rows === 2).length, 1);
    assert.equal(right.statistics().transmit.lost, 0);
    assert.equal(right.statistics().transmit.full, 0);
    assert.ok(left.statistics().receive.held <= SIZE / 2);
  });

  it('forwards frames over several slots', async () => {
    const frame = Buffer.alloc(9000, 7);
    frame.set([...B, ...A, 0x88, 0xb5]);
    for (let at = 14; at < frame.length; at++) frame[at] = at;
    const arrived = longFrame();
    generator.send(frame);
    assert.deepEqual(await arrived, frame);
  });

  it('sends long frames that were written in place, whole, from one end of the ring to the other', async () => {
    const frame = Buffer.alloc(9000);
    for (let at = 14; at < frame.length; at++) frame[at] = at;
    frame.set([...B, ...A, 0x88, 0xb5]);
    for (let number = 0; number < SIZE; number++) {
      frame.writeUInt32BE(number, 14);
      const arrived = longFrame();
      const reservation = generator.reserve(frame.length);
      assert.ok(reservation);
      reservation.bytes.set(frame);
      generator.commit(reservation);
      assert.deepEqual(await arrived, frame);
    }
    await generator.drained();
    assert.equal(generator.statistics().transmit.inFlight, 0);
  });

  it('sends one frame to several ports, and to the one it came from', async () => {
    const patterns = new PatternFrames(B, A);
    const back = once(generator, 'receive');
    left.on('receive', (batch) => {
      for (const frame of batch) if (PatternFrames.is(frame.first)) left.forward(frame);
    });
    const numbers = arrive(patterns, 1);
    generator.send(patterns.make(0));
    assert.deepEqual(await numbers, [0]);
    await back;
  });

  it('outlives the port whose frames are on their way', async () => {
    const patterns = new PatternFrames(B, A);
    const held = new Promise<void>((resolve) => {
      left.on('receive', () => {
        void left.close();
        resolve();
      });
    });
    for (let i = 0; i < 20; i++) generator.send(patterns.make(i));
    await held;
    const { transmit } = right.statistics();
    assert.equal(transmit.inFlight, 0);
    const numbers = arrive(patterns, 1);
    right.send(patterns.make(3));
    assert.equal((await numbers).at(-1), 3);
    assert.equal(tables.at(-1), 1, "the closed port's memory is in no table");
  });

  it('gives frames back when the port they go out through is closed', async () => {
    const patterns = new PatternFrames(B, A);
    left.removeAllListeners('receive');
    const done = new Promise<void>((resolve) => {
      left.on('receive', (batch) => {
        if (right.closed) return;
        for (const frame of batch) right.forward(frame);
        void right.close();
        resolve();
      });
    });
    for (let i = 0; i < 20; i++) generator.send(patterns.make(i));
    await done;
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(left.statistics().receive.held, 0);
    const more = once(left, 'receive');
    for (let i = 0; i < SIZE; i++) generator.send(patterns.make(i));
    await more;
  });

  it('closes a port whose frames are on their way out of a deleted tap, and mends the other', async () => {
    const patterns = new PatternFrames(B, A);
    const [, second] = networks;
    right.on('error', () => undefined);
    const closed = new Promise<void>((resolve) => {
      left.on('receive', (batch) => {
        for (const frame of batch) right.forward(frame);
        right.flush();
        second?.ip('link', 'del', 'dev', 'right');
        resolve(left.close());
      });
    });
    for (let i = 0; i < 20; i++) generator.send(patterns.make(i));
    await closed;
    const [{ cause }] = (await once(right, 'repair')) as [RepairReport];
    assert.equal(cause, 'backend');
  });

  it('refuses a held frame whose port was closed, also when another has its place in memory', async () => {
    const patterns = new PatternFrames(B, A);
    left.removeAllListeners('receive');
    const held = new Promise<Frame>((resolve) => {
      left.once('receive', (batch) => {
        resolve(batch.at(0).hold());
      });
    });
    generator.send(patterns.make(0));
    const frame = await held;
    await left.close();
    const [first] = networks;
    const next = await openPort({
      backend: { tap: 'next', netns: first?.name ?? '' },
      queueSize: SIZE,
    });
    assert.throws(() => right.forward(frame), RangeError);
    await next.close();
    await right.close();
  });
});
