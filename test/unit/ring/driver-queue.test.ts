import assert from 'node:assert/strict';

import fc from 'fast-check';

import { SoftDevice } from '../../support/soft-device.js';
import { GuestMemory } from '#lib/memory/guest-memory';
import { DriverQueue } from '#lib/ring/driver-queue';
import { needEvent } from '#lib/ring/notifications';
import { splitLayout } from '#lib/ring/split-layout';
import { VRING_DESC_F_WRITE } from '#lib/uapi/virtio';

const SLOT = 64;

interface Rig {
  queue: DriverQueue;
  device: SoftDevice;
  /** One 64-byte slot for each descriptor. */
  slots: Uint8Array;
}

/** A driver and a device on one ring, and memory for what the descriptors name. */
function rig(size: number, eventIdx = true, maxSegments = 0): Rig {
  const ring = new ArrayBuffer(Math.ceil(splitLayout(size).byteLength / 64) * 64);
  const tables = size * maxSegments * 16;
  const buffer = new ArrayBuffer(size * SLOT + tables);
  const memory = new GuestMemory([
    { guestAddress: 0, hostAddress: 0n, buffer, byteLength: buffer.byteLength },
  ]);
  const area = { address: size * SLOT, buffer, byteOffset: size * SLOT, maxSegments };
  const options = { size, eventIdx, ...(maxSegments > 0 ? { indirect: area } : {}) };
  const queue = new DriverQueue(ring, 0, options);
  const device = new SoftDevice(ring, 0, size, { eventIdx, memory });
  return { queue, device, slots: new Uint8Array(buffer, 0, size * SLOT) };
}

/** Offers one readable chain of one descriptor with four bytes that are told by `seed`. */
function offerSeed({ queue, slots }: Rig, seed: number): number {
  const head = queue.acquire();
  assert.notEqual(head, -1);
  new DataView(slots.buffer).setUint32(head * SLOT, seed, true);
  queue.setDescriptor(head, head * SLOT, 4, 0);
  queue.offer(head);
  return head;
}

function seedOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
}

describe('DriverQueue', () => {
  for (const size of [1, 2, 256, 32768]) {
    for (const eventIdx of [true, false]) {
      const title = `${String(size)} descriptors, EVENT_IDX ${eventIdx ? 'on' : 'off'}`;
      it(`carries every chain unaltered through more than 65,536 cycles: ${title}`, () => {
        const parts = rig(size, eventIdx);
        const { queue, device } = parts;
        let sent = 0;
        let seen = 0;
        for (let round = 0; sent < 70_000; round++) {
          const batch = 1 + ((round * 7919) % size);
          for (let i = 0; i < batch; i++) offerSeed(parts, sent++);
          queue.publish();
          device.completeAll((chain) => {
            assert.equal(seedOf(device.read(chain)), seen++);
            return 0;
          });
          assert.equal(queue.poll(), batch);
          for (let head = queue.take(); head >= 0; head = queue.take()) queue.release(head);
          assert.equal(queue.free, size);
        }
        assert.equal(seen, sent);
      });
    }
  }

  it('takes a ring of 32768 past the wrap of its indices, full at every turn', () => {
    const parts = rig(32768);
    for (let turn = 0; turn < 5; turn++) {
      for (let i = 0; i < 32768; i++) offerSeed(parts, i);
      assert.equal(parts.queue.acquire(), -1);
      parts.queue.publish();
      assert.equal(parts.device.completeAll(), 32768);
      assert.equal(parts.queue.poll(), 32768);
      for (let head = parts.queue.take(); head >= 0; head = parts.queue.take()) {
        parts.queue.release(head);
      }
    }
    assert.equal(parts.queue.nextUsed, (5 * 32768) & 0xffff);
    assert.equal(parts.queue.free, 32768);
  });

  it('accepts chains in any order of completion and frees each once', () => {
    const orders = fc.array(fc.nat(), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(fc.array(orders, { minLength: 1, maxLength: 40 }), (rounds) => {
        const parts = rig(8);
        for (const keys of rounds) {
          const heads = keys.map((key) => ({ head: offerSeed(parts, key), key }));
          parts.queue.publish();
          while (parts.device.pop());
          heads.sort((a, b) => a.key - b.key).forEach(({ head }) => parts.device.push(head, 0));
          parts.device.publish();
          assert.equal(parts.queue.poll(), 8);
          const taken = heads.map(() => parts.queue.take());
          assert.deepEqual(
            taken,
            heads.map(({ head }) => head),
          );
          taken.forEach((head) => parts.queue.release(head));
          assert.equal(parts.queue.free, 8);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('shows nothing to the device before publish()', () => {
    const parts = rig(4);
    offerSeed(parts, 1);
    assert.equal(parts.device.waiting, 0);
    parts.queue.publish();
    assert.equal(parts.device.waiting, 1);
  });

  it('returns -1 when every descriptor is taken, and loses none', () => {
    const { queue } = rig(4);
    const ids = [queue.acquire(), queue.acquire(), queue.acquire(), queue.acquire()];
    assert.deepEqual([...ids].sort(), [0, 1, 2, 3]);
    assert.equal(queue.acquire(), -1);
    ids.forEach((id) => queue.cancel(id));
    assert.equal(queue.free, 4);
  });

  it('offers a recycled descriptor again without freeing it', () => {
    const parts = rig(2);
    const { queue, device } = parts;
    const head = queue.acquire();
    queue.setDescriptor(head, 0, SLOT, VRING_DESC_F_WRITE);
    for (let i = 0; i < 10; i++) {
      queue.offer(head);
      queue.publish();
      device.completeAll((chain) => device.write(chain, Uint8Array.of(i, 2, 3)));
      queue.poll();
      assert.equal(queue.take(), head);
      assert.equal(queue.takenLength, 3);
      assert.equal(parts.slots[0], i);
    }
    assert.equal(queue.free, 1);
  });
});

describe('DriverQueue against a device that lies', () => {
  const corrupt = { code: 'ERR_VHOST_QUEUE_CORRUPT' };

  const lies: readonly (readonly [what: string, lie: (parts: Rig, head: number) => void])[] = [
    ['a head outside the queue', ({ device }) => device.push(4, 0)],
    ['a head far outside the queue', ({ device }) => device.push(0xffffffff, 0)],
    ['a head that is not in flight', ({ device }, head) => device.push((head + 1) % 4, 0)],
    ['a used length beyond what is writable', ({ device }, head) => device.push(head, SLOT + 1)],
  ];
  for (const [what, lie] of lies) {
    it(`refuses ${what}, and goes on refusing until reset()`, () => {
      const parts = rig(4);
      const { queue, device } = parts;
      const head = queue.acquire();
      queue.setDescriptor(head, 0, SLOT, VRING_DESC_F_WRITE);
      queue.offer(head);
      queue.publish();
      lie(parts, head);
      device.publish();
      assert.equal(queue.poll(), 1);
      assert.throws(() => queue.take(), corrupt);
      assert.throws(() => queue.poll(), corrupt);
      assert.equal(queue.broken?.code, corrupt.code);
      queue.reset();
      assert.equal(queue.poll(), 0);
      assert.equal(queue.free, 4);
    });
  }

  it('refuses the same head twice', () => {
    const parts = rig(4);
    const head = offerSeed(parts, 1);
    offerSeed(parts, 2);
    parts.queue.publish();
    parts.device.push(head, 0);
    parts.device.push(head, 0);
    parts.device.publish();
    assert.equal(parts.queue.poll(), 2);
    assert.equal(parts.queue.take(), head);
    assert.throws(() => parts.queue.take(), corrupt);
  });

  it('refuses a used index that is further ahead than chains are in flight', () => {
    const parts = rig(4);
    offerSeed(parts, 1);
    parts.queue.publish();
    parts.device.jump(2);
    assert.throws(() => parts.queue.poll(), corrupt);
  });

  it('refuses a used index that moves backwards', () => {
    const parts = rig(4);
    offerSeed(parts, 1);
    parts.queue.publish();
    parts.device.jump(-1);
    assert.throws(() => parts.queue.poll(), corrupt);
  });

  it('never hands out a wrong chain, whatever the used ring holds', () => {
    const entries = fc.array(fc.tuple(fc.nat(9), fc.nat(200)), { maxLength: 12 });
    fc.assert(
      fc.property(entries, fc.integer({ min: -3, max: 12 }), (used, jump) => {
        const parts = rig(8);
        const mine = new Set([1, 2, 3, 4, 5].map((seed) => offerSeed(parts, seed)));
        parts.queue.publish();
        used.forEach(([head, length]) => parts.device.push(head, length));
        parts.device.jump(jump);
        try {
          parts.queue.poll();
          for (let head = parts.queue.take(); head >= 0; head = parts.queue.take()) {
            assert.ok(mine.delete(head), `${String(head)} was not in flight`);
          }
        } catch (error) {
          assert.equal((error as { code?: string }).code, corrupt.code);
        }
        assert.deepEqual(new Set(parts.queue.outstanding()), mine);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('DriverQueue, the short way', () => {
  function describe8(parts: Rig): void {
    for (let id = 0; id < 8; id++) parts.queue.setDescriptor(id, id * SLOT, 0, 0);
  }

  it('offers descriptors as they were described, with the length of each time', () => {
    const parts = rig(8);
    const { queue, device } = parts;
    describe8(parts);
    for (let round = 0; round < 50; round++) {
      const ids = [queue.freeAt(0), queue.freeAt(1), queue.freeAt(2)];
      const offered = [10, 20, 30].map((length) => queue.offerNext(length + round));
      assert.deepEqual(offered, ids);
      queue.publish();
      for (const [i, id] of ids.entries()) {
        const segment = { address: id * SLOT, length: 10 * (i + 1) + round, writable: false };
        assert.deepEqual(device.pop(), { head: id, segments: [segment] });
        device.push(id, 0);
      }
      device.publish();
      assert.equal(queue.poll(), 3);
      assert.equal(queue.releaseUsed(), 3);
      assert.equal(queue.free, 8);
    }
  });

  it('leaves nothing of a length of more than 16 bits behind', () => {
    const { queue, device } = rig(8);
    for (let id = 0; id < 8; id++) queue.setDescriptor(id, id * SLOT, 70_000, 0);
    for (let i = 0; i < 8; i++) queue.offerNext(20);
    queue.publish();
    for (let i = 0; i < 8; i++) assert.equal(device.pop()?.segments[0]?.length, 20);
  });

  it('takes as much of a buffer to be written as it was offered with, and no more', () => {
    const { queue, device } = rig(4);
    queue.setDescriptor(0, 0, 10, VRING_DESC_F_WRITE);
    queue.setDescriptor(1, SLOT, 40, VRING_DESC_F_WRITE);
    for (let i = 0; i < 2; i++) queue.offerNext(20);
    queue.publish();
    device.completeAll(({ head }) => (head === 0 ? 20 : 21));
    queue.poll();
    assert.deepEqual([queue.take(), queue.takenLength], [0, 20]);
    assert.throws(() => queue.take(), { code: 'ERR_VHOST_QUEUE_CORRUPT' });
  });

  /** Offers one, which is used and free again. */
  function turn({ queue, device }: Rig, length: number): void {
    assert.ok(queue.offerNext(length) >= 0);
    queue.publish();
    device.completeAll();
    queue.poll();
    queue.releaseUsed();
  }

  it('offers in a run only when every descriptor has that length and its own place', () => {
    const parts = rig(4);
    const { queue, device } = parts;
    for (let i = 0; i < 4; i++) {
      assert.equal(queue.openRun(10, 4), false);
      turn(parts, 10);
    }
    assert.equal(queue.openRun(11, 4), false);
    assert.equal(queue.openRun(10, 2), true);
    assert.deepEqual([queue.offerInRun(), queue.offerInRun(), queue.offerInRun()], [0, 1, -1]);
    queue.publish();
    assert.equal(queue.runLength, -1, 'what is published ends a run');
    device.completeAll();
    queue.poll();
    queue.releaseUsed();
    turn(parts, 11);
    assert.equal(queue.openRun(10, 4), false, 'one of them has another length');
  });

  it('brings descriptors back to their own places, so that there is a run again', () => {
    const parts = rig(8);
    const { queue, device } = parts;
    for (let i = 0; i < 8; i++) queue.offerNext(10);
    queue.publish();
    for (const head of [3, 7, 0, 1, 6, 2, 5, 4]) device.push(head, 0);
    while (device.pop());
    device.publish();
    queue.poll();
    queue.releaseUsed();
    assert.notEqual(queue.freeAt(0), 0);
    for (let i = 0; i < 8; i++) turn(parts, 10);
    assert.equal(queue.openRun(10, 8), true);
  });

  it('tells how many of the free descriptors follow one another, to the end of the table', () => {
    const parts = rig(8);
    const { queue, device } = parts;
    assert.deepEqual([queue.freeInRow(8), queue.freeInRow(3), queue.freeInRow(0)], [8, 3, 0]);
    for (let i = 0; i < 3; i++) turn(parts, 10);
    assert.equal(queue.freeInRow(8), 5);
    for (let i = 0; i < 8; i++) queue.offerNext(10);
    assert.equal(queue.freeInRow(8), 0);
    queue.publish();
    for (const head of [5, 6, 7, 2, 1, 0, 3, 4]) device.push(head, 0);
    device.publish();
    queue.poll();
    queue.releaseUsed();
    assert.deepEqual([queue.freeInRow(8), queue.freeInRow(2)], [3, 2]);
  });

  const endings: readonly (readonly [what: string, end: (queue: DriverQueue) => unknown])[] = [
    ['acquire()', (queue) => queue.acquire()],
    ['claim()', (queue) => queue.claim(3)],
    ['offerNext()', (queue) => queue.offerNext(10)],
    ['offerRun()', (queue) => queue.offerRun(1)],
    ['publish()', (queue) => queue.publish()],
    ['closeRun()', (queue) => queue.closeRun()],
    ['reset()', (queue) => queue.reset()],
  ];
  for (const [what, end] of endings) {
    it(`ends a run at ${what}`, () => {
      const parts = rig(4);
      for (let i = 0; i < 4; i++) turn(parts, 10);
      assert.equal(parts.queue.openRun(10, 4), true);
      end(parts.queue);
      assert.equal(parts.queue.runLength, -1);
    });
  }

  it('ends a run at offer()', () => {
    const parts = rig(4);
    for (let i = 0; i < 4; i++) turn(parts, 10);
    const id = parts.queue.acquire();
    assert.equal(parts.queue.openRun(10, 4), true);
    parts.queue.offer(id);
    assert.equal(parts.queue.runLength, -1);
  });

  for (const how of ['offer()', 'offerTaken()']) {
    it(`takes no queue for one of equal lengths in which ${how} was called between`, () => {
      const parts = rig(4);
      const { queue, device } = parts;
      const id = queue.acquire();
      queue.setLength(id, 11);
      for (let i = 0; i < 3; i++) queue.offerNext(10);
      if (how === 'offer()') queue.offer(id);
      else queue.offerTaken();
      queue.publish();
      device.completeAll();
      queue.poll();
      queue.releaseUsed();
      turn(parts, 10);
      assert.equal(queue.openRun(10, 4), false);
    });
  }

  it('offers nothing when no descriptor is free', () => {
    const { queue } = rig(2);
    assert.ok(queue.acquire() >= 0);
    assert.ok(queue.offerNext(1) >= 0);
    assert.equal(queue.offerNext(1), -1);
    assert.equal(queue.inFlight, 1);
  });

  it('offers all that were taken again, in the order in which they were taken', () => {
    const parts = rig(4);
    const { queue, device } = parts;
    for (let id = 0; id < 4; id++) queue.setDescriptor(id, id * SLOT, SLOT, VRING_DESC_F_WRITE);
    while (queue.offerNext(SLOT) >= 0);
    for (let round = 0; round < 20; round++) {
      queue.publish();
      const heads = [device.pop(), device.pop(), device.pop()].map((chain) => chain?.head ?? -1);
      const used = round % 2 === 0 ? heads : heads.reverse();
      for (const head of used) device.push(head, 1);
      device.publish();
      queue.poll();
      assert.deepEqual([queue.take(), queue.take(), queue.take()], used);
      queue.offerTaken();
      assert.equal(queue.inFlight, 4);
      assert.deepEqual(new Set(queue.outstanding()), new Set([0, 1, 2, 3]));
    }
  });

  it('ends a run by offering all that were taken: nothing in flight is offered again', () => {
    const { queue, device } = rig(4);
    while (queue.offerNext(SLOT) >= 0);
    queue.publish();
    while (device.pop());
    for (let head = 0; head < 4; head++) device.push(head, 0);
    device.publish();
    queue.poll();
    queue.release(queue.take());
    queue.take();
    assert.ok(queue.openRun(SLOT, 4));
    assert.equal(queue.offerInRun(), 0);
    queue.offerTaken();
    assert.equal(queue.runLength, -1);
  });

  it('refuses to offer what was taken before what is free', () => {
    const { queue } = rig(4);
    queue.acquire();
    assert.throws(() => {
      queue.offerTaken();
    }, RangeError);
  });

  it('claims a descriptor that is free, and no other', () => {
    const { queue } = rig(4);
    queue.claim(2);
    assert.equal(queue.free, 3);
    assert.throws(() => queue.claim(2), RangeError);
    assert.throws(() => queue.claim(4), RangeError);
    queue.offer(2);
    assert.throws(() => queue.claim(2), RangeError);
    assert.deepEqual(queue.outstanding(), [2]);
  });

  it('releases what was used in another order, and chains', () => {
    const parts = rig(8);
    const { queue, device } = parts;
    describe8(parts);
    const segment = { address: 0, length: 4, writable: false };
    const chain = queue.addChain([segment, segment, segment]);
    queue.offer(chain);
    const [a, b] = [queue.offerNext(4), queue.offerNext(4)];
    queue.publish();
    while (device.pop());
    for (const head of [b, chain, a]) device.push(head, 0);
    device.publish();
    assert.equal(queue.poll(), 3);
    assert.equal(queue.releaseUsed(), 3);
    assert.equal(queue.free, 8);
  });

  it('throws at a used head that is not in flight, also in the short way', () => {
    const { queue, device } = rig(8);
    queue.offerNext(4);
    queue.publish();
    device.push(5, 0);
    device.publish();
    queue.poll();
    assert.throws(() => queue.releaseUsed(), { code: 'ERR_VHOST_QUEUE_CORRUPT' });
  });

  /** Every descriptor is at every moment in one place only, whoever does what in whatever order. */
  class Model {
    readonly parts = rig(8);
    readonly taken = new Set<number>();
    flying: number[] = [];
    /** The length with which each was offered. */
    readonly lengths = new Array<number>(8).fill(0);
    runs = 0;

    constructor() {
      for (let id = 0; id < 8; id++) this.parts.queue.setDescriptor(id, id * SLOT, 0, 0);
    }

    step(kind: number, which: number): void {
      const { queue, device } = this.parts;
      const mine = [...this.taken][which % this.taken.size];
      if (kind === 0) this.add(queue.acquire());
      else if (kind === 1) this.fly(queue.offerNext(4 + (which & 1)), 4 + (which & 1));
      else if (kind === 2 && mine !== undefined) this.offer(mine, 4 + (which % 3));
      else if (kind === 3 && mine !== undefined) this.drop(mine, () => queue.cancel(mine));
      else if (kind === 4) this.complete(which);
      else if (kind === 5 && device.waiting === 0) this.complete(which);
      else if (kind === 6) this.offerAlike(which);
      else if (kind === 7) this.run(which);
      else if (kind === 8) this.offerAll(which);
      else if (kind === 9) this.goOn();
      else if (kind === 10) this.claim(which % 8);
      else if (kind === 11 && queue.free === 0) this.offerTaken();
      else if (kind === 12 && which === 0) this.reset();
    }

    /** Also a long time after a run was begun, whatever was done since. */
    goOn(): void {
      const { queue } = this.parts;
      if (queue.runLength >= 0) this.fly(queue.offerInRun(), queue.runLength);
    }

    claim(id: number): void {
      if (this.taken.has(id) || this.flying.includes(id)) return;
      this.parts.queue.claim(id);
      this.taken.add(id);
    }

    offerTaken(): void {
      this.parts.queue.offerTaken();
      this.taken.clear();
      this.flying = this.parts.queue.outstanding();
    }

    reset(): void {
      this.parts.queue.reset();
      this.parts.device.reset();
      this.taken.clear();
      this.flying = [];
      this.lengths.fill(0);
      for (let id = 0; id < 8; id++) this.parts.queue.setDescriptor(id, id * SLOT, 0, 0);
    }

    /** Frames of one length while the device completes in order: what makes a run possible. */
    offerAlike(count: number): void {
      for (const id of this.taken) this.drop(id, () => this.parts.queue.cancel(id));
      for (let i = 0; i < count; i++) {
        this.run(2);
        this.fly(this.parts.queue.offerNext(4), 4);
        if (this.flying.length > 0) this.complete(0);
      }
    }

    run(count: number): void {
      const { queue } = this.parts;
      if (!queue.openRun(4, 8)) return;
      this.runs++;
      for (let i = 0; i < count % 4; i++) this.fly(queue.offerInRun(), 4);
    }

    offerAll(most: number): void {
      const { queue } = this.parts;
      if (!queue.openRun(4, most)) return;
      const ids = Array.from({ length: Math.min(most, queue.free) }, (_, i) => queue.freeAt(i));
      const jump = ids.findIndex((id, i) => id !== (ids[0] ?? 0) + i);
      assert.equal(queue.freeInRow(most), jump < 0 ? ids.length : jump);
      queue.offerRun(ids.length);
      for (const id of ids) this.fly(id, 4);
    }

    add(id: number): void {
      if (id < 0) {
        assert.equal(this.taken.size + this.flying.length, 8);
        return;
      }
      assert.ok(!this.taken.has(id) && !this.flying.includes(id));
      this.taken.add(id);
    }

    fly(id: number, length: number): void {
      if (id < 0) return;
      this.lengths[id] = length;
      assert.ok(!this.taken.has(id) && !this.flying.includes(id));
      this.flying.push(id);
    }

    offer(id: number, length: number): void {
      if (length > 5) {
        this.lengths[id] = length;
        this.parts.queue.setLength(id, length);
      }
      this.drop(id, () => {
        this.parts.queue.offer(id);
      });
      this.flying.push(id);
    }

    drop(id: number, how: () => void): void {
      how();
      this.taken.delete(id);
    }

    /** The device uses one of those that it has seen; it comes back taken, or at once free. */
    complete(which: number): void {
      const { queue, device } = this.parts;
      queue.publish();
      const seen: number[] = [];
      for (let chain = device.pop(); chain; chain = device.pop()) {
        seen.push(chain.head);
        assert.equal(chain.segments[0]?.length, this.lengths[chain.head]);
      }
      assert.deepEqual(seen, this.flying.slice(this.flying.length - seen.length));
      const head = this.flying.splice(which % Math.max(1, this.flying.length), 1)[0];
      if (head === undefined) return;
      device.push(head, 0);
      device.publish();
      assert.equal(queue.poll(), 1);
      if (which % 2 === 0) {
        assert.equal(queue.releaseUsed(), 1);
        return;
      }
      assert.equal(queue.take(), head);
      this.taken.add(head);
    }
  }

  it('gives no descriptor to two, and loses none, whatever the order of all that can be done', () => {
    const steps = fc.array(fc.tuple(fc.nat(12), fc.nat(31)), { maxLength: 120 });
    let runs = 0;
    fc.assert(
      fc.property(steps, (all) => {
        const model = new Model();
        for (const [kind, which] of all) {
          model.step(kind, which);
          const { queue } = model.parts;
          assert.equal(queue.free, 8 - model.taken.size - model.flying.length);
          assert.deepEqual(new Set(queue.outstanding()), new Set(model.flying));
        }
        runs += model.runs;
      }),
      { numRuns: 1000 },
    );
    assert.ok(runs > 1000, `only ${String(runs)} runs`);
  });
});

describe('DriverQueue chains', () => {
  const readable = (address: number, length: number) => ({ address, length, writable: false });
  const writable = (address: number, length: number) => ({ address, length, writable: true });

  it('links the descriptors of a chain in order and frees them together', () => {
    const { queue, device } = rig(8);
    for (let round = 0; round < 20; round++) {
      const wanted = [readable(0, 10), readable(64, 20), writable(128, 30)];
      const head = queue.addChain(wanted);
      assert.equal(queue.free, 5);
      queue.offer(head);
      queue.publish();
      const chain = device.pop();
      assert.deepEqual(chain, { head, segments: wanted });
      device.push(head, 30);
      device.publish();
      assert.equal(queue.poll(), 1);
      assert.equal(queue.take(), head);
      queue.release(head);
      assert.equal(queue.free, 8);
    }
  });

  it('leaves no chain behind in descriptors that are used singly afterwards', () => {
    const parts = rig(4);
    const head = parts.queue.addChain([readable(0, 1), readable(64, 1), readable(128, 1)]);
    parts.queue.offer(head);
    parts.queue.publish();
    parts.device.completeAll();
    parts.queue.poll();
    parts.queue.release(parts.queue.take());
    for (let i = 0; i < 4; i++) {
      const id = parts.queue.acquire();
      parts.queue.setLength(id, 4);
      parts.queue.offer(id);
    }
    parts.queue.publish();
    for (let i = 0; i < 4; i++) assert.equal(parts.device.pop()?.segments.length, 1);
  });

  it('takes nothing when there are too few descriptors', () => {
    const { queue } = rig(2);
    assert.equal(queue.addChain([readable(0, 1), readable(1, 1), readable(2, 1)]), -1);
    assert.equal(queue.free, 2);
  });

  it('refuses a readable buffer behind a writable one, and an empty chain', () => {
    const { queue } = rig(4);
    assert.throws(() => queue.addChain([writable(0, 1), readable(1, 1)]), TypeError);
    assert.throws(() => queue.addChain([]), RangeError);
    assert.equal(queue.free, 4);
  });

  it('holds the used length against the writable bytes of the whole chain', () => {
    const { queue, device } = rig(4);
    queue.offer(queue.addChain([readable(0, 8), writable(64, 10), writable(128, 10)]));
    queue.publish();
    device.completeAll(() => 21);
    queue.poll();
    assert.throws(() => queue.take(), { code: 'ERR_VHOST_QUEUE_CORRUPT' });
  });

  it('puts a chain of any length behind one descriptor through an indirect table', () => {
    const { queue, device } = rig(4, true, 3);
    const wanted = [readable(0, 1), readable(64, 2), writable(128, 3)];
    const heads = [0, 1, 2, 3].map(() => queue.addIndirect(wanted));
    assert.equal(queue.free, 0);
    assert.equal(queue.addIndirect(wanted), -1);
    heads.forEach((head) => {
      queue.offer(head);
    });
    queue.publish();
    for (const head of heads) assert.deepEqual(device.pop(), { head, segments: wanted });
    const four = [0, 1, 2, 3].map((i) => readable(i, 1));
    assert.throws(() => queue.addIndirect(four), RangeError);
    assert.throws(() => rig(4).queue.addIndirect(wanted), RangeError);
  });

  it('writes addresses beyond 32 bits whole', () => {
    const { queue, device } = rig(1);
    queue.offer(queue.addChain([readable(0x1f_ffff_ffff_f000, 16)]));
    queue.publish();
    assert.equal(device.pop()?.segments[0]?.address, 0x1f_ffff_ffff_f000);
  });
});

describe('DriverQueue#publish()', () => {
  it('asks for a kick exactly when the avail index passes avail_event', () => {
    const parts = rig(8);
    assert.equal(parts.queue.publish(), false, 'nothing new');
    offerSeed(parts, 0);
    assert.equal(parts.queue.publish(), true, 'the device waits for the first');
    offerSeed(parts, 1);
    assert.equal(parts.queue.publish(), false, 'it has not asked again');
    parts.device.completeAll();
    assert.equal(parts.device.armKicks(), false);
    offerSeed(parts, 2);
    assert.equal(parts.queue.publish(), true);
  });

  it('honours NO_NOTIFY without EVENT_IDX', () => {
    const parts = rig(8, false);
    offerSeed(parts, 0);
    assert.equal(parts.queue.publish(), true);
    parts.device.disarmKicks();
    offerSeed(parts, 1);
    assert.equal(parts.queue.publish(), false);
    assert.equal(parts.device.armKicks(), true, 'the device must look again itself');
  });
});

describe('needEvent()', () => {
  it('says yes exactly when the event lies in [old, fresh), also across the wrap', () => {
    const word = fc.integer({ min: 0, max: 0xffff });
    fc.assert(
      fc.property(word, word, fc.integer({ min: 0, max: 0xffff }), (event, old, steps) => {
        const passed = ((event - old) & 0xffff) < steps;
        assert.equal(needEvent(event, (old + steps) & 0xffff, old), passed);
      }),
      { numRuns: 5000 },
    );
  });
});

describe('DriverQueue#armCalls()', () => {
  for (const eventIdx of [true, false]) {
    const title = `EVENT_IDX ${eventIdx ? 'on' : 'off'}`;
    it(`gets a call for the next used chain, and none while disarmed: ${title}`, () => {
      const parts = rig(8, eventIdx);
      const complete = () => {
        offerSeed(parts, 0);
        parts.queue.publish();
        const chain = parts.device.pop();
        assert.ok(chain);
        parts.device.push(chain.head, 0);
        return parts.device.publish();
      };
      const take = () => {
        parts.queue.poll();
        parts.queue.release(parts.queue.take());
      };
      assert.equal(parts.queue.armCalls(), false);
      assert.equal(complete(), true);
      take();
      parts.queue.disarmCalls();
      assert.equal(complete(), false);
      assert.equal(parts.queue.armCalls(), true, 'one is used already: no call will come');
      take();
      assert.equal(parts.queue.armCalls(), false);
      assert.equal(complete(), true);
    });
  }

  it('waits for as many as it was told to', () => {
    const parts = rig(8);
    for (let i = 0; i < 6; i++) offerSeed(parts, i);
    parts.queue.publish();
    assert.equal(parts.queue.armCalls(4), false);
    const calls = [0, 1, 2, 3, 4, 5].map(() => {
      const chain = parts.device.pop();
      assert.ok(chain);
      parts.device.push(chain.head, 0);
      return parts.device.publish();
    });
    assert.deepEqual(calls, [false, false, false, true, false, false]);
    assert.equal(parts.queue.armCalls(4), true);
  });

  it('stays quiet for more than a whole turn of the index while it is disarmed again and again', () => {
    const parts = rig(256);
    let calls = 0;
    for (let i = 0; i < 70_000; i++) {
      parts.queue.disarmCalls();
      offerSeed(parts, i);
      parts.queue.publish();
      const chain = parts.device.pop();
      assert.ok(chain);
      parts.device.push(chain.head, 0);
      if (parts.device.publish()) calls++;
      parts.queue.poll();
      parts.queue.release(parts.queue.take());
    }
    assert.equal(calls, 0);
  });
});

describe('DriverQueue#reset()', () => {
  it('starts anew from any base', () => {
    const parts = rig(4);
    offerSeed(parts, 1);
    parts.queue.publish();
    parts.queue.reset(0xfffe);
    assert.equal(parts.queue.nextAvail, 0xfffe);
    assert.equal(parts.queue.inFlight, 0);
    assert.equal(parts.queue.free, 4);
    assert.deepEqual(parts.queue.outstanding(), []);
    assert.equal(parts.queue.poll(), 0);
  });

  it('refuses a base that is no 16-bit number', () => {
    const { queue } = rig(4);
    for (const base of [-1, 0x10000, 1.5, NaN]) assert.throws(() => queue.reset(base), RangeError);
  });
});

describe('DriverQueue misuse', () => {
  it('refuses sizes that are no power of 2 in 1..32768', () => {
    const buffer = new ArrayBuffer(1 << 20);
    for (const size of [0, 3, 65536, -1, 1.5, NaN]) {
      assert.throws(() => new DriverQueue(buffer, 0, { size, eventIdx: true }), RangeError);
    }
  });

  it('refuses descriptors that were not acquired', () => {
    const { queue } = rig(4);
    assert.throws(() => queue.offer(0), RangeError);
    assert.throws(() => queue.cancel(0), RangeError);
    assert.throws(() => queue.release(7), RangeError);
  });

  it('lets the device see nothing of an offer that it refused', () => {
    const parts = rig(4);
    const { queue, device } = parts;
    const head = offerSeed(parts, 1);
    assert.throws(() => {
      queue.offer(head);
    }, RangeError);
    queue.publish();
    assert.equal(device.completeAll(), 1);
    assert.equal(queue.poll(), 1);
  });
});
