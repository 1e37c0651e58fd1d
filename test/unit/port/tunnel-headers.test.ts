import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';

import { SoftDevice } from '../../support/soft-device.js';
import { tunnelled, unfinishedFrame } from '../../support/unfinished-frames.js';
import type { UnfinishedFrame } from '../../support/unfinished-frames.js';
import { GuestMemory } from '#lib/memory/guest-memory';
import { segment } from '#lib/offload/segment';
import { Arena } from '#lib/port/arena';
import { describeTunnel } from '#lib/port/describe';
import { Frame } from '#lib/port/frame';
import type { PortEvents } from '#lib/port/events';
import type { TransmitLimits } from '#lib/port/frame-limits';
import { ReceivePath } from '#lib/port/receive-path';
import { TransmitPath } from '#lib/port/transmit-path';
import { gsoBit } from '#lib/ring/header-fault';
import { HEADER_SIZE, PLAIN_HEADER, TUNNEL_HEADER_SIZE, writeHeader } from '#lib/ring/net-header';
import type { NetHeader } from '#lib/ring/net-header';
import { DriverQueue } from '#lib/ring/driver-queue';
import { EventFd } from '#lib/sys/eventfd';

const SIZE = 16;
const NONE: TransmitLimits = { longest: 1518, checksums: false, gsoTypes: 0 };
const TCP4: TransmitLimits = { longest: 4000, checksums: true, gsoTypes: gsoBit(1) };
const TUNNELS: TransmitLimits = { ...TCP4, tunnels: true, tunnelChecksums: true };

const PLAIN = Uint8Array.from({ length: 60 }, (_, i) => i);
const payload = Uint8Array.from({ length: 3000 }, (_, i) => i * 3);
const TUNNELLED = tunnelled(unfinishedFrame({ payload, gsoSize: 1000 }), { checksum: true });

/** The header of a frame as `struct virtio_net_hdr_v1_hash_tunnel` has it, written another way. */
function headerBytes(header: NetHeader): Buffer {
  const bytes = Buffer.alloc(24);
  const { hdrLen, gsoSize, csumStart, csumOffset, outerThOffset = 0, innerNhOffset = 0 } = header;
  bytes.set([header.flags, header.gsoType]);
  for (const [i, word] of [hdrLen, gsoSize, csumStart, csumOffset].entries())
    bytes.writeUInt16LE(word, 2 + 2 * i);
  bytes.writeUInt16LE(outerThOffset, 20);
  bytes.writeUInt16LE(innerNhOffset, 22);
  return bytes;
}

describe('a port whose headers have 24 bytes', () => {
  const ends: (() => void)[] = [];
  afterEach(() => {
    for (const end of ends.splice(0).reverse()) end();
  });

  function makeArena(headerSize: number): Arena {
    const arena = Arena.allocate({ queueSize: SIZE, slotPayload: 1518, headerSize });
    ends.push(() => {
      arena.close();
    });
    return arena;
  }

  function makeEvents() {
    const events = { kick: new EventFd(), call: new EventFd(), err: new EventFd() };
    ends.push(() => {
      for (const event of Object.values(events)) event.close();
    });
    return events;
  }

  /** A transmit path whose device reads its own slots, and those of `lender`. */
  function sender(headerSize: number, limits: TransmitLimits, lender?: Arena) {
    const arena = makeArena(headerSize);
    const regions = [arena, ...(lender ? [lender] : [])].flatMap((one) => one.memory.regions);
    const ring = { size: SIZE, eventIdx: true };
    const device = new SoftDevice(arena.ringBuffer, arena.transmit.byteOffset, SIZE, {
      eventIdx: true,
      memory: new GuestMemory(regions),
    });
    const events = makeEvents();
    const asked: Arena[] = [];
    const path = new TransmitPath({
      port: new EventEmitter<PortEvents>(),
      queue: new DriverQueue(arena.ringBuffer, arena.transmit.byteOffset, ring),
      slots: arena.transmitSlots,
      events: events as never,
      limits,
      onFault: (fault) => assert.fail(fault.message),
      connect: (other) => asked.push(other) > 0,
    });
    path.start();
    ends.push(() => {
      path.close();
      path.returnLoans();
    });
    /** What the device reads, of each chain all that it names. */
    const completeAll = (): Buffer[] => {
      path.flush();
      const seen = device.takeAll();
      path.reclaim();
      return seen;
    };
    return { path, arena, asked, completeAll };
  }

  /** A frame as the kernel put it in the first slots of an arena. */
  function received(arena: Arena, { bytes, header }: UnfinishedFrame): Frame {
    const slots = arena.receiveSlots;
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
    writeHeader(slots.words16, frame.headerAt, header, slots.headerSize);
    return frame;
  }

  it('has frames at multiples of 16 in memory, right behind their headers', () => {
    for (const headerSize of [HEADER_SIZE, TUNNEL_HEADER_SIZE]) {
      const { transmitSlots, receiveSlots } = makeArena(headerSize);
      for (const slots of [transmitSlots, receiveSlots]) {
        for (let slot = 0; slot < SIZE; slot++) {
          const at = slots.payloads[slot]?.byteOffset ?? -1;
          assert.equal(at % 16, 0);
          const header = slots.words16.byteOffset + 2 * slots.headerWord(slot);
          assert.equal(at - header, headerSize);
          assert.equal(slots.tails[slot]?.byteOffset, header);
        }
        assert.ok(slots.capacity >= 1518);
      }
    }
  });

  it('sends complete frames behind 24 zeros, by every way, also where another header was', () => {
    const { path, completeAll } = sender(TUNNEL_HEADER_SIZE, TUNNELS);
    const wanted = Buffer.concat([new Uint8Array(TUNNEL_HEADER_SIZE), PLAIN]);
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < SIZE; i++) path.send(PLAIN, undefined);
      assert.deepEqual(completeAll(), new Array<Buffer>(SIZE).fill(wanted));
      path.sendBatch({ bytes: Buffer.concat([PLAIN, PLAIN, PLAIN]), frameLength: PLAIN.length });
      path.sendInPlace(3, PLAIN.length, ({ bytes, stride, count }) => {
        for (let i = 0; i < count; i++) bytes.set(PLAIN, i * stride);
      });
      const reservation = path.reserve(PLAIN.length);
      reservation?.bytes.set(PLAIN);
      if (reservation) path.commit(reservation, undefined);
      assert.deepEqual(completeAll(), new Array<Buffer>(7).fill(wanted));
      for (let i = 0; i < 5; i++) path.send(TUNNELLED.bytes, TUNNELLED.header);
      completeAll();
    }
  });

  it('sends a long frame of a tunnel whole, with what its header says of the tunnel', () => {
    const { path, completeAll } = sender(TUNNEL_HEADER_SIZE, TUNNELS);
    const wanted = Buffer.concat([headerBytes(TUNNELLED.header), TUNNELLED.bytes]);
    assert.equal(path.send(TUNNELLED.bytes, TUNNELLED.header), true);
    const reservation = path.reserve(TUNNELLED.bytes.length);
    assert.ok(reservation);
    reservation.bytes.set(TUNNELLED.bytes);
    path.commit(reservation, TUNNELLED.header);
    assert.deepEqual(completeAll(), [wanted, wanted]);
  });

  it('receives such a frame over several slots, and says where its parts begin', async () => {
    const arena = makeArena(TUNNEL_HEADER_SIZE);
    const device = new SoftDevice(arena.ringBuffer, 0, SIZE, {
      eventIdx: true,
      memory: arena.memory,
    });
    const port = new EventEmitter<PortEvents>();
    const events = makeEvents();
    const path = new ReceivePath({
      port,
      queue: new DriverQueue(arena.ringBuffer, 0, { size: SIZE, eventIdx: true }),
      slots: arena.receiveSlots,
      events: events as never,
      poison: true,
      pollMicroseconds: 0,
      coalesceFrames: 1,
      onFault: (fault) => assert.fail(fault.message),
    });
    path.start();
    ends.push(() => {
      path.close();
      events.call.unwatch();
      events.err.unwatch();
    });
    let seen: { bytes: Buffer; header: NetHeader } | undefined;
    const came = once(port, 'receive');
    port.on('receive', (batch) => {
      const { bytes, header } = batch.at(0);
      seen = { bytes: Buffer.from(bytes), header };
    });
    let rest = Buffer.concat([headerBytes(TUNNELLED.header), TUNNELLED.bytes]);
    rest.writeUInt16LE(2, 10); // num_buffers
    while (rest.length > 0) {
      const chain = device.pop();
      assert.ok(chain);
      const room = chain.segments.reduce((sum, { length }) => sum + length, 0);
      device.push(chain.head, device.write(chain, rest.subarray(0, room)));
      rest = rest.subarray(room);
    }
    device.publish();
    events.call.signal();
    await came;
    assert.deepEqual(seen, { bytes: Buffer.from(TUNNELLED.bytes), header: TUNNELLED.header });
  });

  const [TAG, QINQ] = [
    [0x81, 0, 0, 5],
    [0x88, 0xa8, 0, 7, 0x81, 0, 0, 5],
  ];
  for (const [what, tags, version, change] of [
    ['a tag that the kernel had not counted', TAG, 4, { outerThOffset: 34, innerNhOffset: 64 }],
    ['a tag that it had counted', TAG, 4, {}],
    ['two tags, of which it had counted one', QINQ, 6, { outerThOffset: 58, gsoType: 0x21 }],
    ['two tags that it had counted', QINQ, 6, { gsoType: 0x21 }],
  ] as const) {
    it(`says where the parts of a frame are that has ${what}`, () => {
      const inner = unfinishedFrame({ payload, gsoSize: 1000 });
      const whole = tunnelled(inner, { tags, version });
      const { outerThOffset = 0, innerNhOffset = 0 } = whole.header;
      const asCame = { ...whole.header, ...change };
      asCame.innerNhOffset = innerNhOffset - (outerThOffset - (asCame.outerThOffset ?? 0));
      const arena = makeArena(TUNNEL_HEADER_SIZE);
      const frame = received(arena, { ...whole, header: asCame });
      describeTunnel(frame);
      assert.deepEqual(frame.header, whole.header);
    });
  }

  it('leaves the header of any other frame as it is', () => {
    const arena = makeArena(TUNNEL_HEADER_SIZE);
    const open = unfinishedFrame({ payload, gsoSize: 1000 });
    const strange = { ...TUNNELLED, header: { ...TUNNELLED.header, outerThOffset: 40 } };
    for (const one of [open, { ...open, header: PLAIN_HEADER }, TUNNELLED, strange]) {
      const frame = received(arena, one);
      describeTunnel(frame);
      assert.deepEqual(frame.header, { outerThOffset: 0, innerNhOffset: 0, ...one.header });
    }
  });

  it('lends a frame to a port with such headers too, with its own', () => {
    const lender = makeArena(TUNNEL_HEADER_SIZE);
    const { path, asked, completeAll } = sender(TUNNEL_HEADER_SIZE, TUNNELS, lender);
    const frame = received(lender, TUNNELLED);
    assert.equal(path.forward(frame), true);
    assert.deepEqual(asked, [lender]);
    const wanted = Buffer.concat([headerBytes(TUNNELLED.header), TUNNELLED.bytes]);
    assert.deepEqual(completeAll(), [wanted]);
  });

  for (const [from, to] of [
    [TUNNEL_HEADER_SIZE, HEADER_SIZE],
    [HEADER_SIZE, TUNNEL_HEADER_SIZE],
  ] as const) {
    it(`lends behind a header of its own what was received with one of ${String(from)} bytes`, () => {
      const lender = makeArena(from);
      const { path, asked, completeAll } = sender(to, TCP4, lender);
      const open = unfinishedFrame({ payload, gsoSize: 1000 });
      const plain = { ...open, bytes: PLAIN, header: PLAIN_HEADER };
      for (let round = 0; round < 2 * SIZE; round++) {
        for (const one of [open, plain]) {
          assert.equal(path.forward(received(lender, one)), true);
          const wanted = Buffer.concat([headerBytes(one.header).subarray(0, to), one.bytes]);
          assert.deepEqual(completeAll(), [wanted]);
        }
      }
      assert.deepEqual(asked, [lender]);
      path.send(PLAIN, undefined);
      assert.deepEqual(completeAll(), [Buffer.concat([new Uint8Array(to), PLAIN])]);
      for (let i = 0; i < SIZE / 2; i++) {
        assert.equal(path.forward(received(lender, plain)), true);
      }
      assert.equal(path.forward(received(lender, plain)), false, 'it takes two descriptors');
      assert.equal(completeAll().length, SIZE / 2);
    });
  }

  it('has the tunnels that it received cut for ports that did not agree to them', () => {
    const lender = makeArena(TUNNEL_HEADER_SIZE);
    const pieces = Array.from(segment(TUNNELLED.bytes, TUNNELLED.header), (one) => one.slice());
    const ports: readonly (readonly [number, TransmitLimits])[] = [
      [HEADER_SIZE, NONE],
      [HEADER_SIZE, TCP4],
      [TUNNEL_HEADER_SIZE, TCP4],
      [TUNNEL_HEADER_SIZE, { ...TUNNELS, tunnelChecksums: false }],
      [TUNNEL_HEADER_SIZE, { ...TUNNELS, gsoTypes: gsoBit(4) }],
    ];
    for (const [headerSize, limits] of ports) {
      const { path, completeAll } = sender(headerSize, limits, lender);
      const frame = received(lender, TUNNELLED);
      assert.equal(path.forward(frame), true);
      const complete = (piece: Uint8Array) => Buffer.concat([new Uint8Array(headerSize), piece]);
      assert.deepEqual(completeAll(), pieces.map(complete));
      assert.deepEqual(frame.header, TUNNELLED.header, 'the received one is as it was');
    }
  });
});
