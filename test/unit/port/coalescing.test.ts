import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';

import { SoftDevice } from '../../support/soft-device.js';
import { GuestMemory } from '#lib/memory/guest-memory';
import { SlotArea } from '#lib/port/arena';
import type { PortEvents } from '#lib/port/events';
import { ReceivePath } from '#lib/port/receive-path';
import { DriverQueue } from '#lib/ring/driver-queue';
import { HEADER_SIZE } from '#lib/ring/net-header';
import { splitLayout } from '#lib/ring/split-layout';
import { EventFd } from '#lib/sys/eventfd';

const SIZE = 128;
const STRIDE = 128;
const MOST = 16;
/** More than come by chance, less than a turn takes. */
const MANY = 40;

describe('coalesceFrames', () => {
  let port: EventEmitter<PortEvents>;
  let path: ReceivePath;
  let device: SoftDevice;
  let events: EventFd[];
  let frames: number;
  let arrived: number;
  let told: () => void = () => undefined;

  function open(coalesceFrames: number, eventIdx = true): void {
    const ring = new ArrayBuffer(Math.ceil(splitLayout(SIZE).byteLength / 64) * 64);
    const buffer = new ArrayBuffer(SIZE * STRIDE);
    const region = { guestAddress: 0, hostAddress: 0n, buffer, byteLength: buffer.byteLength };
    device = new SoftDevice(ring, 0, SIZE, { eventIdx, memory: new GuestMemory([region]) });
    port = new EventEmitter<PortEvents>();
    events = [new EventFd(), new EventFd(), new EventFd()];
    path = new ReceivePath({
      port,
      queue: new DriverQueue(ring, 0, { size: SIZE, eventIdx }),
      slots: new SlotArea(buffer, 0, SIZE, STRIDE, 0),
      events: { kick: events[0], call: events[1], err: events[2] } as never,
      poison: false,
      pollMicroseconds: 0,
      coalesceFrames,
      onFault: () => assert.fail('a fault'),
    });
    frames = arrived = 0;
    port.on('receive', (batch) => {
      frames += batch.length;
      told();
    });
    path.start();
  }
  afterEach(() => {
    path.close();
    for (const event of events) event.close();
  });

  /** So many frames come at once; how many of them are called for. */
  function arrive(count: number): number {
    let calls = 0;
    arrived += count;
    for (let i = 0; i < count; i++) {
      const chain = device.pop();
      assert.ok(chain, 'no slot to receive in');
      device.push(chain.head, device.write(chain, new Uint8Array(HEADER_SIZE + 60)));
      if (!device.publish()) continue;
      calls++;
      events[1]?.signal();
    }
    return calls;
  }

  /** Until so many have come in all. No further listener: to a new one the port gives what is there. */
  async function received(count: number): Promise<void> {
    while (frames < count) await new Promise<void>((resolve) => (told = resolve));
  }

  /** Until a frame is not called for at once, with so many more then. How many were called for before, each with many. */
  async function wait(more: number): Promise<number> {
    for (let calls = 0; ; calls++) {
      const called = arrive(1) === 1;
      arrive(called ? MANY - 1 : more);
      await received(arrived);
      if (!called) return calls;
    }
  }

  /** The timer may have been faster than a call, which then comes for nothing: it has come. */
  const settled = () => new Promise((resolve) => setImmediate(resolve));

  it('lets a call wait for more frames where many come, up to the number that was given', async () => {
    open(MOST);
    arrive(MANY);
    await received(MANY);
    assert.equal(arrive(MOST - 1), 0);
    assert.equal(arrive(1), 1);
    await received(MANY + MOST);
  });

  it('looks for frames that came while the others did not, and is careful for a while', async () => {
    open(MOST);
    arrive(MANY);
    await received(MANY);
    assert.equal(arrive(1), 0);
    await received(MANY + 1);
    assert.equal(path.statistics().calls, 1);
    arrive(MANY);
    await received(2 * MANY + 1);
    assert.equal(arrive(1), 1);
  });

  it('waits again for as many as came until the time was over, when that were many', async () => {
    open(MOST);
    arrive(MANY);
    await received(MANY);
    assert.equal(arrive(MOST - 1), 0);
    await received(MANY + MOST - 1);
    assert.equal(path.statistics().calls, 1);
    assert.equal(arrive(MOST - 2), 0);
    assert.equal(arrive(1), 1);
    await received(MANY + 2 * (MOST - 1));
    await settled();
    assert.ok((await wait(0)) < 2, 'it was not careful because of that');
  });

  it('is careful for twice as long each time that it waited in vain, until it did not', async () => {
    open(MOST);
    assert.deepEqual([await wait(0), await wait(0), await wait(0)], [1, 65, 129]);
    assert.equal(await wait(MOST - 1), 257);
    await settled();
    await wait(0); // at once, or after one call when the timer was as fast as the last one
    assert.equal(await wait(0), 65);
  });

  it('lets nothing wait where few come', async () => {
    open(MOST);
    for (let count = 1; count <= 5; count++) {
      assert.equal(arrive(1), 1);
      await received(count);
    }
  });

  it('lets nothing wait when it is 1', async () => {
    open(1);
    arrive(MANY);
    await received(MANY);
    assert.equal(arrive(1), 1);
  });

  it('lets nothing wait where the device takes no event index', async () => {
    open(MOST, false);
    const calls = arrive(MANY);
    await received(MANY);
    assert.equal(arrive(1), 1);
    await received(MANY + 1);
    assert.equal(path.statistics().calls, calls + 1);
  });
});
