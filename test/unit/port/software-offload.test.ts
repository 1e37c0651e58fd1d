import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';

import { SoftDevice } from '../../support/soft-device.js';
import { unfinishedFrame } from '../../support/unfinished-frames.js';
import type { UnfinishedFrame } from '../../support/unfinished-frames.js';
import { GuestMemory } from '#lib/memory/guest-memory';
import { completeChecksum } from '#lib/offload/checksum';
import { segment } from '#lib/offload/segment';
import { SlotArea } from '#lib/port/arena';
import { Frame } from '#lib/port/frame';
import type { PortEvents } from '#lib/port/events';
import type { TransmitLimits } from '#lib/port/frame-limits';
import { TransmitPath } from '#lib/port/transmit-path';
import { DriverQueue } from '#lib/ring/driver-queue';
import { HEADER_SIZE, writeHeader } from '#lib/ring/net-header';
import { splitLayout } from '#lib/ring/split-layout';
import { EventFd } from '#lib/sys/eventfd';

const SIZE = 8;
const STRIDE = 128;
const NONE = { longest: 300, checksums: false, gsoTypes: 0 };
const TCP4 = { longest: 700, checksums: true, gsoTypes: 1 << 1 };

/** The frame as a port with offloads receives it, over as many slots as it takes. */
function received({ bytes, header }: UnfinishedFrame): Frame {
  const slots = new SlotArea(new ArrayBuffer(SIZE * STRIDE), 0, SIZE, STRIDE, 0);
  const frame = new Frame(slots, { busyFrames: 0, reclaim: () => undefined }, 0);
  frame.length = bytes.length;
  frame.firstLength = Math.min(bytes.length, slots.capacity);
  frame.first.set(bytes.subarray(0, frame.firstLength));
  for (let at = frame.firstLength; at < bytes.length; at += slots.tailCapacity) {
    const part = bytes.subarray(at, at + slots.tailCapacity);
    slots.tails[++frame.extraCount]?.set(part);
    frame.extraSlots.push(frame.extraCount);
    frame.extraLengths.push(part.length);
  }
  // What only a receiver is told: it is dropped.
  writeHeader(slots.words16, frame.headerAt, { ...header, flags: header.flags | 2 });
  return frame;
}

describe('TransmitPath#forward() of unfinished frames', () => {
  const payload = Uint8Array.from({ length: 500 }, (_, i) => i * 3);
  const three = unfinishedFrame({ payload, gsoSize: 200 });
  const expected = Array.from(segment(three.bytes, three.header), (piece) => piece.slice());

  const ends: (() => void)[] = [];
  afterEach(() => {
    for (const end of ends.splice(0)) end();
  });

  function rig(limits: TransmitLimits) {
    const ring = new ArrayBuffer(Math.ceil(splitLayout(SIZE).byteLength / 64) * 64);
    const buffer = new ArrayBuffer(SIZE * STRIDE);
    const memory = new GuestMemory([
      { guestAddress: 0, hostAddress: 0n, buffer, byteLength: buffer.byteLength },
    ]);
    const port = new EventEmitter<PortEvents>();
    const device = new SoftDevice(ring, 0, SIZE, { eventIdx: true, memory });
    const [kick, call, err] = [new EventFd(), new EventFd(), new EventFd()];
    const path = new TransmitPath({
      port,
      queue: new DriverQueue(ring, 0, { size: SIZE, eventIdx: true }),
      slots: new SlotArea(buffer, 0, SIZE, STRIDE, 0),
      events: { kick, call, err } as never,
      limits,
      onFault: (fault) => assert.fail(fault.message),
      connect: () => false,
    });
    path.start();
    ends.push(() => {
      path.close();
      for (const event of [kick, call, err]) event.close();
    });
    /** The device takes what is there and gives it back: bytes with their headers. */
    const completeAll = (): Buffer[] => {
      path.flush();
      const seen = device.takeAll();
      call.signal();
      return seen;
    };
    return { port, path, completeAll };
  }

  const plain = (bytes: Uint8Array) => Buffer.concat([new Uint8Array(HEADER_SIZE), bytes]);

  it('cuts a frame that the device would not', () => {
    const { path, completeAll } = rig(NONE);
    assert.equal(path.forward(received(three)), true);
    assert.deepEqual(completeAll(), expected.map(plain));
    const { frames, bytes, full } = path.statistics();
    assert.deepEqual([frames, bytes, full], [3, three.bytes.length + 2 * three.at.payload, 0]);
  });

  it('fills in a checksum that the device would not, and leaves the received frame as it is', () => {
    const { path, completeAll } = rig(NONE);
    for (const length of [20, 200]) {
      const open = unfinishedFrame({ payload: payload.subarray(0, length), gsoSize: 0 });
      const unfinished = { ...open, header: { ...open.header, gsoType: 0 } };
      const frame = received(unfinished);
      const complete = open.bytes.slice();
      completeChecksum(complete, unfinished.header);
      assert.equal(path.forward(frame), true);
      assert.equal(path.forward(frame), true);
      assert.deepEqual(completeAll(), [plain(complete), plain(complete)]);
      assert.deepEqual([...frame.bytes], [...open.bytes]);
    }
  });

  it('leaves to the device what it can do', () => {
    const { path, completeAll } = rig(TCP4);
    assert.equal(path.forward(received(three)), true);
    const [whole, ...more] = completeAll();
    assert.deepEqual(more, []);
    assert.ok(whole);
    assert.deepEqual(whole.subarray(HEADER_SIZE), Buffer.from(three.bytes));
    assert.deepEqual([whole[0], whole[1]], [1, 1]);
  });

  it('cuts what is of another GSO type than the device can cut', () => {
    const { path, completeAll } = rig(TCP4);
    const six = unfinishedFrame({ payload, gsoSize: 200, version: 6 });
    assert.equal(path.forward(received(six)), true);
    const pieces = Array.from(segment(six.bytes, six.header), plain);
    assert.deepEqual(completeAll(), pieces);
  });

  it('takes all of the pieces or none, and promises drain', async () => {
    const { port, path, completeAll } = rig(NONE);
    const short = new Uint8Array(60);
    // Pieces of 254, 254 and 154 bytes: three slots, three, and two.
    assert.equal(path.send(short, undefined), true);
    assert.equal(path.forward(received(three)), false);
    assert.equal(path.statistics().inFlight, 1);
    assert.equal(path.statistics().full, 1);
    const drained = once(port, 'drain');
    assert.deepEqual(completeAll(), [plain(short)]);
    await drained;
    assert.equal(path.forward(received(three)), true);
    assert.deepEqual(completeAll(), expected.map(plain));
  });

  it('tells who waits for frames of those that it takes back to make room', async () => {
    const { path, completeAll } = rig(NONE);
    for (let i = 0; i < SIZE; i++) path.send(new Uint8Array(60), undefined);
    const drained = path.drained();
    completeAll();
    assert.equal(path.forward(received(three)), true); // before the loop has turned
    completeAll();
    await drained;
  });

  it('takes back first what is completed', () => {
    const { path, completeAll } = rig(NONE);
    for (let turn = 0; turn < 3; turn++) {
      assert.equal(path.forward(received(three)), true);
      assert.equal(completeAll().length, 3);
    }
    assert.equal(path.statistics().full, 0);
  });

  const refused: readonly (readonly [why: string, frame: UnfinishedFrame])[] = [
    ['more pieces than the ring holds', unfinishedFrame({ payload, gsoSize: 20 })],
    ['pieces too long for the device', unfinishedFrame({ payload, gsoSize: 400 })],
    ['a frame that is not what its header says', { ...three, bytes: three.bytes.subarray(0, 400) }],
    ['a GSO type that nobody can cut', { ...three, header: { ...three.header, gsoType: 3 } }],
    ['a GSO type that does not exist', { ...three, header: { ...three.header, gsoType: 0x24 } }],
  ];
  for (const [why, frame] of refused) {
    it(`refuses ${why}, and takes nothing`, () => {
      for (const limits of [NONE, { ...NONE, checksums: true, gsoTypes: 1 << 4 }]) {
        const { path, completeAll } = rig(limits);
        assert.throws(() => path.forward(received(frame)), RangeError);
        assert.deepEqual(completeAll(), []);
        assert.equal(path.statistics().inFlight, 0);
      }
    });
  }

  it('says that the port is closed', () => {
    const { path } = rig(NONE);
    path.close();
    assert.throws(() => path.forward(received(three)), { code: 'ERR_VHOST_CLOSED' });
  });
});
