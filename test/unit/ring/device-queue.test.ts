import assert from 'node:assert/strict';

import fc from 'fast-check';

import { GuestMemory } from '#lib/memory/guest-memory';
import { DeviceQueue } from '#lib/ring/device-queue';
import type { DeviceQueueOptions } from '#lib/ring/device-queue';
import { DriverQueue } from '#lib/ring/driver-queue';
import { splitLayout } from '#lib/ring/split-layout';

const SIZE = 8;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
/** Where the guest's memory begins, and where in it rings, tables and buffers. */
const AT = 0x100000;
const TABLE = 0x2000;
const BUFFERS = 0x4000;
const BYTES = 0x10000;
const CORRUPT = { code: 'ERR_VHOST_QUEUE_CORRUPT' };

describe('DeviceQueue', () => {
  const layout = splitLayout(SIZE);
  let buffer: ArrayBuffer;
  let view: DataView;
  let memory: GuestMemory;

  beforeEach(() => {
    buffer = new ArrayBuffer(BYTES);
    view = new DataView(buffer);
    memory = new GuestMemory([{ guestAddress: AT, hostAddress: 0n, buffer, byteLength: BYTES }]);
  });

  function make(options: Partial<DeviceQueueOptions> = {}): DeviceQueue {
    return new DeviceQueue({
      memory,
      size: SIZE,
      desc: AT + layout.desc,
      avail: AT + layout.avail,
      used: AT + layout.used,
      eventIdx: false,
      indirect: true,
      ...options,
    });
  }

  function descriptor(at: number, address: number, length: number, flags: number, next = 0): void {
    view.setUint32(at, address % 2 ** 32, true);
    view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
    view.setUint32(at + 8, length, true);
    view.setUint16(at + 12, flags, true);
    view.setUint16(at + 14, next, true);
  }

  /** Offers a head; the index goes to `index`. */
  function offer(head: number, index = 1): void {
    view.setUint16(layout.avail + 4 + 2 * ((index - 1) % SIZE), head, true);
    view.setUint16(layout.avail + 2, index, true);
  }

  for (const eventIdx of [false, true]) {
    it(`takes and gives back what a driver offers, over 70,000 chains, event index ${String(eventIdx)}`, () => {
      const driver = new DriverQueue(buffer, 0, { size: SIZE, eventIdx });
      const device = make({ eventIdx });
      let kicks = 0;
      let calls = 0;
      let taken = 0;
      device.arm();
      driver.armCalls(1);
      for (let round = 0; round < 14_000; round++) {
        for (let i = 0; i < 5; i++) {
          const id = driver.acquire();
          driver.setDescriptor(id, AT + BUFFERS + 16 * id, 16, WRITE);
          driver.offer(id);
        }
        if (driver.publish()) kicks++;
        for (let chain = device.pop(); chain; chain = device.pop()) {
          assert.equal(chain.writable[0]?.byteOffset, BUFFERS + 16 * chain.head);
          if (device.push(chain.head, 7)) calls++;
        }
        assert.equal(device.arm(), false);
        taken += driver.poll();
        for (let n = driver.poll(); n > 0; n--) {
          const id = driver.take();
          assert.equal(driver.takenLength, 7);
          driver.release(id);
        }
        driver.armCalls(1);
      }
      assert.equal(taken, 70_000);
      assert.equal(kicks, 14_000);
      // With the event index once for each batch; without, for every chain.
      assert.equal(calls, eventIdx ? 14_000 : 70_000);
    });
  }

  it('sees what came between its last look and its wish to be told', () => {
    const device = make({ eventIdx: true });
    descriptor(0, AT + BUFFERS, 4, 0);
    offer(0);
    assert.equal(device.arm(), true);
    assert.ok(device.pop());
    assert.equal(device.arm(), false);
    assert.equal(view.getUint16(layout.availEvent, true), 1);
  });

  it('tells what is to be read from what is to be written, through a chain and an indirect table', () => {
    const device = make();
    descriptor(0, AT + BUFFERS, 4, NEXT, 3);
    descriptor(16 * 3, AT + TABLE, 32, INDIRECT);
    descriptor(TABLE, AT + BUFFERS + 8, 2, NEXT, 1);
    descriptor(TABLE + 16, AT + BUFFERS + 16, 1, WRITE);
    offer(0);
    const chain = device.pop();
    assert.deepEqual(
      [chain?.readable, chain?.writable].map((list) => list?.map((bytes) => bytes.length)),
      [[4, 2], [1]],
    );
  });

  it('gives a chain back unread when it is told to skip it', () => {
    const device = make();
    descriptor(0, 2 ** 60, 4, 0);
    offer(0);
    assert.equal(device.skip(), true);
    assert.equal(device.skip(), undefined);
    assert.equal(view.getUint16(layout.used + 2, true), 1);
    assert.equal(view.getUint32(layout.used + 8, true), 0);
  });

  it('goes on where another device stopped', () => {
    view.setUint16(layout.used + 2, 5, true);
    offer(2, 6);
    descriptor(32, AT + BUFFERS, 4, 0);
    const device = make({ nextAvail: 5 });
    assert.equal(device.pop()?.head, 2);
    device.push(2, 0);
    assert.equal(view.getUint16(layout.used + 2, true), 6);
  });

  describe('refuses', () => {
    const bad: readonly (readonly [string, () => void, Partial<DeviceQueueOptions>?])[] = [
      ['an avail index out of reach', () => offer(0, SIZE + 1)],
      ['a head that is no descriptor', () => offer(SIZE)],
      ['a buffer outside of memory', () => descriptor(0, AT + BYTES - 3, 4, 0)],
      ['a buffer before memory', () => descriptor(0, AT - 1, 4, 0)],
      ['an address beyond all numbers', () => descriptor(0, 2 ** 63, 4, 0)],
      ['a buffer as long as all memory there could be', () => descriptor(0, AT, 0xffffffff, 0)],
      ['a chain that comes back to itself', () => descriptor(0, AT + BUFFERS, 4, NEXT, 0)],
      ['a next descriptor that is none', () => descriptor(0, AT + BUFFERS, 4, NEXT, SIZE)],
      [
        'something to read behind something to write',
        () => {
          descriptor(0, AT + BUFFERS, 4, NEXT | WRITE, 1);
          descriptor(16, AT + BUFFERS, 4, 0);
        },
      ],
      ['an empty table', () => descriptor(0, AT + TABLE, 0, INDIRECT)],
      [
        'a table that is no whole number of descriptors',
        () => descriptor(0, AT + TABLE, 24, INDIRECT),
      ],
      ['a table longer than the queue', () => descriptor(0, AT + TABLE, 16 * (SIZE + 1), INDIRECT)],
      ['a table outside of memory', () => descriptor(0, AT + BYTES - 16, 32, INDIRECT)],
      ['a table with a next descriptor', () => descriptor(0, AT + TABLE, 16, INDIRECT | NEXT, 1)],
      [
        'a table in a table',
        () => {
          descriptor(0, AT + TABLE, 16, INDIRECT);
          descriptor(TABLE, AT + TABLE, 16, INDIRECT);
        },
      ],
      [
        'a loop in a table',
        () => {
          descriptor(0, AT + TABLE, 32, INDIRECT);
          descriptor(TABLE, AT + BUFFERS, 4, NEXT, 1);
          descriptor(TABLE + 16, AT + BUFFERS, 4, NEXT, 0);
        },
      ],
      [
        'a table that was not agreed on',
        () => descriptor(0, AT + TABLE, 16, INDIRECT),
        { indirect: false },
      ],
    ];
    for (const [what, write, options] of bad) {
      it(what, () => {
        offer(0);
        descriptor(0, AT + BUFFERS, 4, 0);
        descriptor(TABLE, AT + BUFFERS, 4, 0);
        write();
        const device = make(options);
        assert.throws(() => device.pop(), CORRUPT);
        assert.throws(() => device.pop(), CORRUPT, 'it stays so');
      });
    }

    it('rings that are misaligned, or not in memory as a whole', () => {
      for (const wrong of [
        { desc: AT + 8 },
        { avail: AT + 1 },
        { used: AT + 2 },
        { desc: AT + BYTES - 16 },
        { used: AT + BYTES - 8 },
        { avail: 2 ** 63 },
        { avail: NaN },
      ]) {
        assert.throws(() => make(wrong), CORRUPT);
      }
    });
  });

  it('throws nothing but ERR_VHOST_QUEUE_CORRUPT, and ends, whatever lies in memory', () => {
    const word = fc.oneof(
      fc.constantFrom(0, 1, 2, 4, 5, SIZE - 1, SIZE, 16, 32, 0xffff),
      fc.integer({ min: 0, max: 0xffff }),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 159 }), word), { maxLength: 60 }),
        fc.boolean(),
        (writes, indirect) => {
          new Uint8Array(buffer).fill(0);
          for (let id = 0; id < SIZE; id++)
            descriptor(16 * id, AT + TABLE + 16 * id, 16, id & 7, id + 1);
          for (const [at, value] of writes) view.setUint16(2 * at, value, true);
          const device = make({ indirect });
          try {
            for (let n = 0; n < 3 * SIZE; n++) {
              const chain = device.pop();
              if (!chain) break;
              assert.ok(chain.head < SIZE);
              for (const bytes of [...chain.readable, ...chain.writable]) {
                assert.equal(bytes.buffer, buffer);
              }
              device.push(chain.head, 0);
            }
          } catch (error) {
            assert.equal((error as NodeJS.ErrnoException).code, CORRUPT.code);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});
