import assert from 'node:assert/strict';

import { RingReader } from '#lib/trace/rings';
import { DriverQueue, Pages } from '#lib/index';
import type { IoctlArguments } from '#lib/index';

const SIZE = 8;

describe('RingReader', () => {
  let pages: Pages;
  let queue: DriverQueue;
  let reader: RingReader;

  const hear = (request: string, given: IoctlArguments) => {
    reader.hear({
      fd: 3,
      request,
      arguments: given,
      result: undefined,
      error: undefined,
      nanoseconds: 1,
    });
  };

  beforeEach(() => {
    pages = Pages.allocate({ byteLength: 8192 });
    queue = new DriverQueue(pages.buffer, 0, { size: SIZE, eventIdx: true });
    reader = new RingReader();
    for (const index of [0, 1]) {
      hear('VHOST_SET_VRING_NUM', { index, size: SIZE });
      hear('VHOST_SET_VRING_ADDR', { index, desc: pages.address });
      hear('VHOST_SET_VRING_KICK', { index, fd: 10 + index });
      hear('VHOST_SET_VRING_CALL', { index, fd: 20 + index });
    }
    const row = { guestAddress: 0x10000n, byteLength: 4096n, hostAddress: pages.address + 4096n };
    hear('VHOST_SET_MEM_TABLE', { rows: [row] });
  });
  afterEach(() => {
    reader.close();
    pages.close();
  });

  it('knows the eventfds of either ring', () => {
    const { receive, transmit } = reader;
    assert.deepEqual([receive.kick, transmit.kick, receive.call, transmit.call], [10, 11, 20, 21]);
  });

  it('reads in memory what a queue wrote there, before it is published and after', () => {
    const id = queue.acquire();
    queue.setDescriptor(id, 0x10040, 77, 0);
    queue.offer(id);
    const before = reader.look().transmit;
    assert.equal(before.availIdx, 0);
    assert.equal(before.availHead(0), id);
    assert.deepEqual(before.descriptor(id), { address: 0x10040n, length: 77 });
    queue.publish();
    queue.armCalls(3);
    const { availIdx, usedEvent } = reader.look().transmit;
    assert.deepEqual([availIdx, usedEvent], [1, 2]);
    assert.equal(before.availIdx, 0); // what was read stays as it was
  });

  it('reads what the device wrote', () => {
    const { used, availEvent } = queue.layout;
    const view = new DataView(pages.buffer);
    view.setUint16(used + 2, 9, true);
    view.setUint32(used + 4, 5, true);
    view.setUint32(used + 8, 60, true);
    view.setUint16(availEvent, 6, true);
    const ring = reader.look().receive;
    assert.equal(ring.usedIdx, 9);
    assert.deepEqual(ring.used(SIZE), { head: 5, length: 60 }); // indices go round
    assert.equal(ring.availEvent, 6);
  });

  it('finds a slot through the memory table, and refuses what is not in it', () => {
    const text = Buffer.from('in a slot');
    Buffer.from(pages.buffer).set(text, 4096 + 0x40);
    const slot = { address: 0x10040n, length: text.length };
    assert.deepEqual(reader.slot(slot, text.length), text);
    assert.throws(() => reader.slot({ address: 0x10ff8n, length: 9 }, 9), /is in no row/);
  });
});
