import assert from 'node:assert/strict';

import fc from 'fast-check';

import { SoftDevice } from '../../support/soft-device.js';
import { GuestMemory } from '#lib/memory/guest-memory';
import { SlotArea } from '#lib/port/arena';
import type { Frame } from '#lib/port/frame';
import { ReceiveBatch, Receiver } from '#lib/port/receive';
import { DriverQueue } from '#lib/ring/driver-queue';
import { HEADER_SIZE } from '#lib/ring/net-header';
import { splitLayout } from '#lib/ring/split-layout';

const SIZE = 16;
const STRIDE = 128;

/** A receive ring with slots, and the device that writes to them. */
class Rig {
  readonly device: SoftDevice;
  readonly slots: SlotArea;
  readonly receiver: Receiver;
  readonly batch = new ReceiveBatch(0);
  readonly queue: DriverQueue;
  released = 0;
  /** Rows that were taken. */
  rows = 0;

  constructor() {
    const ring = new ArrayBuffer(Math.ceil(splitLayout(SIZE).byteLength / 64) * 64);
    const buffer = new ArrayBuffer(SIZE * STRIDE);
    const region = { guestAddress: 0, hostAddress: 0n, buffer, byteLength: buffer.byteLength };
    const memory = new GuestMemory([region]);
    this.device = new SoftDevice(ring, 0, SIZE, { eventIdx: true, memory });
    this.slots = new SlotArea(buffer, 0, SIZE, STRIDE, 0);
    this.queue = new DriverQueue(ring, 0, { size: SIZE, eventIdx: true });
    const { queue } = this;
    const takeRow = queue.takeRow.bind(queue);
    queue.takeRow = (most, room) => {
      const count = takeRow(most, room);
      if (count > 0) this.rows++;
      return count;
    };
    this.receiver = new Receiver(this.queue, this.slots, false, () => this.released++);
    this.queue.publish();
  }

  /** Buffers that a frame of so many bytes takes. */
  buffersFor(length: number): number {
    return this.slots.slotsFor(length);
  }

  /** One frame comes, full of this number; with `turned` what is in two buffers comes from the second on. */
  arrive(length: number, content: number, turned = false): void {
    const frame = new Uint8Array(HEADER_SIZE + length).fill(content, HEADER_SIZE);
    const buffers = this.buffersFor(length);
    frame[10] = buffers;
    const chains = Array.from({ length: buffers }, () => this.device.pop());
    if (turned) chains.reverse();
    let at = 0;
    for (const [i, chain] of chains.entries()) {
      assert.ok(chain, 'no slot to receive in');
      const room = i === 0 ? HEADER_SIZE + this.slots.capacity : this.slots.tailCapacity;
      const written = this.device.write(chain, frame.subarray(at, at + room));
      this.device.push(chain.head, written);
      at += written;
    }
  }

  /** What is received at once, and given back. */
  take(most = SIZE, keep: (frame: Frame) => boolean = () => false): string[] {
    this.device.publish();
    this.receiver.collect(this.batch, most);
    const seen = [...this.batch].map((frame) => {
      const text = describeFrame(frame);
      if (keep(frame)) frame.hold();
      return text;
    });
    this.receiver.recycle(this.batch);
    this.queue.publish();
    return seen;
  }
}

/** How long it is, and of what it is full. */
function describeFrame({ bytes, length }: Frame): string {
  return `${String(length)}: ${[...new Set(bytes)].join(' ')}`;
}

describe('Receiver', () => {
  it('receives frames of any lengths as they came, whatever is held, out of turn or at the end of the ring', () => {
    const one = fc.record({
      length: fc.oneof(fc.integer({ min: 1, max: 112 }), fc.integer({ min: 1, max: 700 })),
      turned: fc.boolean(),
      held: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
      most: fc.integer({ min: 1, max: SIZE }),
    });
    let rows = 0;
    fc.assert(
      fc.property(fc.array(fc.array(one, { maxLength: 8 }), { maxLength: 30 }), (rounds) => {
        const rig = new Rig();
        const held: Frame[] = [];
        let content = 0;
        for (const round of rounds) {
          const expected: string[] = [];
          let free = rig.queue.inFlight;
          for (const { length, turned } of round) {
            free -= rig.buffersFor(length);
            if (free < 0) break;
            content = (content % 255) + 1;
            rig.arrive(length, content, turned);
            expected.push(`${String(length)}: ${String(content)}`);
          }
          const seen: string[] = [];
          for (let i = 0; seen.length < expected.length; i++) {
            const { most = 1, held: holds = false } = round[i] ?? {};
            const got = rig.take(most, (frame) => holds && held.push(frame) > 0);
            assert.ok(got.length > 0 && got.length <= most);
            seen.push(...got);
          }
          assert.deepEqual(seen, expected);
          assert.equal(rig.receiver.held, held.length);
          if (held.length > 2) for (const frame of held.splice(0)) frame.release();
          rig.queue.publish();
          rows += rig.rows;
        }
        assert.equal(rig.receiver.busyFrames, held.length);
      }),
      { numRuns: 400 },
    );
    assert.ok(rows > 100, `only ${String(rows)} rows`);
  });

  it('keeps what came before a length that can not be true, and nothing of what comes behind it', () => {
    const rig = new Rig();
    rig.arrive(20, 1);
    rig.arrive(30, 2);
    const chain = rig.device.pop();
    rig.device.push(chain?.head ?? 0, STRIDE);
    rig.device.publish();
    assert.throws(() => {
      rig.receiver.collect(rig.batch, SIZE);
    }, /the device wrote used length 128 of 124 writable bytes, head 2$/);
    assert.deepEqual([...rig.batch].map(describeFrame), ['20: 1', '30: 2']);
  });

  it('keeps what came before a frame that is shorter than its header', () => {
    const rig = new Rig();
    rig.arrive(20, 1);
    rig.device.push(rig.device.pop()?.head ?? 0, HEADER_SIZE - 1);
    rig.device.publish();
    assert.throws(() => {
      rig.receiver.collect(rig.batch, SIZE);
    }, /a frame of 11 bytes$/);
    assert.deepEqual([...rig.batch].map(describeFrame), ['20: 1']);
  });

  it('has nothing of a frame that was half received in the frame that comes there after a new beginning', () => {
    const rig = new Rig();
    rig.arrive(700, 1);
    // All of its buffers but the last: the index that shows them is taken back.
    rig.slots.words16[rig.slots.headerWord(0) + 5] = SIZE;
    rig.device.publish();
    assert.throws(() => {
      rig.receiver.collect(rig.batch, SIZE);
    }, /num_buffers 16 with 6 used$/);
    rig.device.reset();
    rig.receiver.restart(rig.batch);
    rig.queue.publish();
    rig.arrive(20, 2);
    rig.device.publish();
    rig.receiver.collect(rig.batch, SIZE);
    assert.deepEqual([...rig.batch].map(describeFrame), ['20: 2']);
    assert.ok(rig.batch.at(0).contiguous);
  });

  it('takes nothing of a row in which something could not be true for what comes after a new beginning', () => {
    const rig = new Rig();
    rig.arrive(20, 1);
    rig.device.push(rig.device.pop()?.head ?? 0, STRIDE);
    rig.arrive(20, 3);
    rig.arrive(20, 4);
    rig.device.publish();
    assert.throws(() => {
      rig.receiver.collect(rig.batch, SIZE);
    }, /used length 128/);
    rig.batch.at(0).hold();
    rig.device.reset();
    rig.receiver.restart(rig.batch);
    rig.receiver.recycle(rig.batch);
    rig.queue.publish();
    rig.arrive(200, 5);
    assert.deepEqual(rig.take(), ['200: 5']);
  });

  it('goes back to rows when what was held, and lay elsewhere in the ring, came back', () => {
    const rig = new Rig();
    const held: Frame[] = [];
    for (let i = 0; i < SIZE / 2; i++) rig.arrive(20, i);
    rig.take(SIZE, (frame) => frame.bytes[0] === 2 && held.push(frame) > 0);
    held[0]?.release();
    rig.queue.publish();
    for (const isFirst of [true, false]) {
      rig.rows = 0;
      for (let i = 0; i < SIZE; i++) rig.arrive(20, i);
      assert.equal(rig.take().length, SIZE);
      assert.equal(rig.rows > 0, !isFirst);
    }
  });

  it('copies nothing of a frame whose handler has returned', () => {
    const rig = new Rig();
    rig.arrive(20, 1);
    let kept: Frame | undefined;
    rig.take(1, (frame) => {
      kept = frame;
      return false;
    });
    const target = new Uint8Array(20);
    kept?.copyTo(target);
    assert.deepEqual([kept?.length, kept?.bytes.length, Math.max(...target)], [0, 0, 0]);
  });
});

describe('ReceiveBatch', () => {
  it('can be gone through by several at once, and says nothing more when it is cleared', () => {
    const rig = new Rig();
    for (const length of [10, 20, 30]) rig.arrive(length, length);
    rig.device.publish();
    rig.receiver.collect(rig.batch, SIZE);
    const pairs: number[][] = [];
    for (const a of rig.batch) for (const b of rig.batch) pairs.push([a.length, b.length]);
    assert.deepEqual(
      pairs.map((pair) => pair.join(' ')),
      ['10 10', '10 20', '10 30', '20 10', '20 20', '20 30', '30 10', '30 20', '30 30'],
    );
    const iterator = rig.batch[Symbol.iterator]();
    assert.equal((iterator.next().value as Frame).length, 10);
    rig.receiver.recycle(rig.batch);
    assert.equal(iterator.next().done, true);
    assert.deepEqual([...rig.batch], []);
    assert.throws(() => rig.batch.at(0), RangeError);
  });
});
