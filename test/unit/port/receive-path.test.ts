import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';

import { SoftDevice } from '../../support/soft-device.js';
import { GuestMemory } from '#lib/memory/guest-memory';
import { SlotArea } from '#lib/port/arena';
import { frameCopies } from '#lib/port/frame-copies';
import type { Frame } from '#lib/port/frame';
import type { PortEvents } from '#lib/port/events';
import { ReceivePath } from '#lib/port/receive-path';
import { DriverQueue } from '#lib/ring/driver-queue';
import { HEADER_SIZE } from '#lib/ring/net-header';
import { splitLayout } from '#lib/ring/split-layout';
import { EventFd } from '#lib/sys/eventfd';

const SIZE = 8;
const STRIDE = 128;
const BYTES = 60;

/** What a loop needs of a port. */
class SoftPort extends EventEmitter<PortEvents> {
  readonly closed = false;
}

describe('ReceivePath', () => {
  let port: SoftPort;
  let path: ReceivePath;
  let device: SoftDevice;
  let call: EventFd;
  /** What is done to the header of each frame. */
  let onFrame: (frame: Frame) => void;
  const faults: string[] = [];
  const events: EventFd[] = [];

  beforeEach(() => {
    const ring = new ArrayBuffer(Math.ceil(splitLayout(SIZE).byteLength / 64) * 64);
    const buffer = new ArrayBuffer(SIZE * STRIDE);
    const region = { guestAddress: 0, hostAddress: 0n, buffer, byteLength: buffer.byteLength };
    port = new SoftPort();
    onFrame = () => undefined;
    const options = { eventIdx: true, memory: new GuestMemory([region]) };
    device = new SoftDevice(ring, 0, SIZE, options);
    call = new EventFd();
    events.push(call, new EventFd(), new EventFd());
    path = new ReceivePath({
      port,
      queue: new DriverQueue(ring, 0, { size: SIZE, eventIdx: true }),
      slots: new SlotArea(buffer, 0, SIZE, STRIDE, 0),
      events: { kick: events[1], call, err: events[2] } as never,
      poison: false,
      pollMicroseconds: 0,
      coalesceFrames: 1,
      onFault: (fault) => faults.push(fault.cause),
      describe: (frame) => {
        onFrame(frame);
      },
    });
    path.start();
  });
  afterEach(() => {
    path.close();
    for (const event of events.splice(0)) event.close();
    assert.deepEqual(faults.splice(0), []);
  });

  /** One frame comes, full of this number. */
  function arrive(content: number): void {
    const chain = device.pop();
    assert.ok(chain, 'no slot to receive in');
    const bytes = new Uint8Array(HEADER_SIZE + BYTES).fill(content, HEADER_SIZE);
    bytes[10] = 1; // num_buffers
    device.push(chain.head, device.write(chain, bytes));
    if (device.publish()) call.signal();
  }

  /** Whatever was begun in this turn of the loop has happened; a call takes one of its own. */
  async function settled(): Promise<void> {
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  /** The first byte of the next frame. */
  async function received(): Promise<number | undefined> {
    let first: number | undefined;
    const done = once(port, 'receive');
    port.once('receive', (batch) => (first = batch.at(0).first[0]));
    await done;
    return first;
  }

  it('counts each call, also of those that are one turn of the loop', async () => {
    call.signal();
    call.signal();
    await settled();
    assert.equal(path.statistics().calls, 2);
  });

  it('counts a kick as suppressed only where there was something to show', async () => {
    const { kicks, kicksSuppressed } = path.statistics();
    const kept: Frame[] = [];
    port.on('receive', (batch) => {
      for (const frame of batch) kept.push(frame.hold());
    });
    arrive(1);
    await settled();
    assert.equal(kept.length, 1); // so that no slot went back
    assert.deepEqual(
      [path.statistics().kicks, path.statistics().kicksSuppressed],
      [kicks, kicksSuppressed],
    );
    kept[0]?.release();
    await settled();
    assert.equal(path.statistics().kicks + path.statistics().kicksSuppressed, 1 + kicks);
  });

  it('gives a handler what came while there was none', async () => {
    arrive(7);
    await settled();
    assert.equal(await received(), 7);
  });

  it('gives a handler what came, after all listeners were removed and listen() called', async () => {
    port.on('receive', () => undefined);
    port.removeAllListeners();
    path.listen();
    path.listen();
    assert.equal(port.listenerCount('newListener'), 1);
    arrive(8);
    await settled();
    assert.equal(await received(), 8);
  });

  it('refuses to hold a frame whose handler has returned, and takes no other for it', async () => {
    const kept: Frame[] = [];
    port.on('receive', (batch) => kept.push(...batch));
    arrive(1);
    await settled();
    assert.throws(() => kept[0]?.hold(), { code: 'ERR_VHOST_STATE', message: /in the handler/ });
    assert.equal(path.statistics().held, 0);
    for (let count = 1; count < 3 * SIZE; count++) {
      arrive(count);
      await settled();
    }
    assert.equal(kept.length, 3 * SIZE);
  });

  it('holds a frame twice as once, and refuses it when it was released', async () => {
    const kept: Frame[] = [];
    port.on('receive', (batch) => kept.push(batch.at(0).hold().hold()));
    arrive(1);
    await settled();
    assert.equal(path.statistics().held, 1);
    kept[0]?.hold().release();
    assert.equal(path.statistics().held, 0);
    assert.throws(() => kept[0]?.hold(), { code: 'ERR_VHOST_STATE' });
  });

  it('goes on in the event loop after a blocking call that took frames', async () => {
    const got: (number | undefined)[] = [];
    port.on('receive', (batch) => got.push(batch.at(0).first[0]));
    await settled();
    arrive(1);
    assert.equal(call.drain(), 1); // as a blocking call does
    assert.equal(path.takeBatch(), 1);
    await settled();
    arrive(2);
    await settled();
    assert.deepEqual(got, [1, 2]);
  });

  it('gives the device what was released between two blocking calls, although no turn ends', () => {
    const kept: Frame[] = [];
    port.on('receive', (batch) => {
      for (const frame of batch) kept.push(frame.hold());
    });
    for (let i = 0; i < SIZE; i++) arrive(i);
    assert.equal(path.takeBatch(), SIZE);
    assert.equal(device.waiting, 0);
    for (const frame of kept) frame.release();
    assert.equal(path.takeBatch(), 0);
    assert.equal(device.waiting, SIZE);
  });

  it('describes what came before something that can not be true, too', () => {
    const described: number[] = [];
    onFrame = (frame) => described.push(frame.first[0] ?? -1);
    let delivered = 0;
    port.on('receive', (batch) => (delivered += batch.length));
    arrive(5);
    device.push(SIZE, 0); // no descriptor of this ring
    device.publish();
    assert.equal(path.takeBatch(), 0);
    assert.deepEqual(faults.splice(0), ['corrupt']);
    path.recover(0, true);
    assert.deepEqual([described, delivered], [[5], 1]);
  });

  it('keeps the batch of a handler that waits while the ring begins anew, and counts what came behind it', async () => {
    let batches = 0;
    port.on('receive', (batch) => {
      if (batches++ > 0) return;
      const { slot } = batch.at(0);
      arrive(2);
      path.recover(0, true);
      device.reset();
      assert.equal(batch.length, 1);
      assert.equal(batch.at(0).first[0], 1);
      const offered = Array.from({ length: SIZE }, () => device.pop()?.head);
      assert.deepEqual([offered.includes(slot), offered.at(-1)], [false, undefined]);
    });
    arrive(1);
    await settled();
    assert.equal(batches, 1);
    assert.equal(path.statistics().lost, 1);
    assert.equal(device.waiting, 1, 'its slot came back when it had returned');
  });

  describe('under loops', () => {
    /** More than a loop keeps. */
    const MANY = 5000;

    async function flood(): Promise<number> {
      let count = 0;
      for (; count < MANY && device.waiting > 0; count++) {
        arrive(count % 256);
        await settled();
      }
      return count;
    }

    it('gives nobody more while one of two is full, and everybody everything in the end', async () => {
      const [slow, quick] = [frameCopies(port, path), frameCopies(port, path)];
      const [first] = [slow.next(), quick.next()];
      const count = await flood();
      assert.ok(count < MANY, 'nothing stopped the flood');
      assert.equal((await first).done, false);
      // One frame is taken already; what is in the ring comes when both have room.
      for (let at = 1; at < count - SIZE; at++) await quick.next();
      const more = quick.next();
      await settled();
      assert.equal(device.waiting, 0, 'a loop went on over the head of the other');
      for (let at = 1; at < count; at++)
        assert.equal((await slow.next()).value?.bytes[0], at % 256);
      assert.equal((await more).done, false);
      await slow.return();
      await quick.return();
    });

    it('stays paused, whichever loop begins or ends', async () => {
      path.pause();
      const loop = frameCopies(port, path);
      const next = loop.next();
      arrive(1);
      await settled();
      assert.equal(path.statistics().frames, 0);
      path.resume();
      assert.equal((await next).value?.bytes[0], 1);
      path.pause();
      await loop.return();
      port.on('receive', () => assert.fail('resumed'));
      arrive(2);
      await settled();
      assert.equal(path.statistics().frames, 1);
    });

    it('goes on for the others when a full loop ends', async () => {
      const [full, other] = [frameCopies(port, path), frameCopies(port, path)];
      const waiting = [full.next(), other.next()];
      const count = await flood();
      await Promise.all(waiting);
      await full.return();
      for (let at = 1; at < count; at++) await other.next();
      await settled();
      assert.equal(device.waiting, SIZE);
      await other.return();
    });
  });
});
