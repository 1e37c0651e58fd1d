import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';

import fc from 'fast-check';

import { SoftDevice } from '../../support/soft-device.js';
import { VhostError } from '#lib/errors';
import { GuestMemory } from '#lib/memory/guest-memory';
import { Arena, SlotArea } from '#lib/port/arena';
import { Frame } from '#lib/port/frame';
import type { PortEvents } from '#lib/port/events';
import { Reservation } from '#lib/port/reservations';
import type { FrameRun } from '#lib/port/transmit';
import { TransmitPath } from '#lib/port/transmit-path';
import { DriverQueue } from '#lib/ring/driver-queue';
import { HEADER_SIZE } from '#lib/ring/net-header';
import { splitLayout } from '#lib/ring/split-layout';
import { EventFd } from '#lib/sys/eventfd';

const SIZE = 8;
const STRIDE = 64;

describe('TransmitPath', () => {
  let port: EventEmitter<PortEvents>;
  let path: TransmitPath;
  let device: SoftDevice;
  let slots: SlotArea;
  let asked: Arena[];
  const faults: string[] = [];
  const events: EventFd[] = [];

  beforeEach(() => {
    const ring = new ArrayBuffer(Math.ceil(splitLayout(SIZE).byteLength / 64) * 64);
    const buffer = new ArrayBuffer(SIZE * STRIDE);
    const memory = new GuestMemory([
      { guestAddress: 0, hostAddress: 0n, buffer, byteLength: buffer.byteLength },
    ]);
    slots = new SlotArea(buffer, 0, SIZE, STRIDE, 0);
    port = new EventEmitter();
    asked = [];
    device = new SoftDevice(ring, 0, SIZE, { eventIdx: true, memory });
    const [kick, call, err] = [new EventFd(), new EventFd(), new EventFd()];
    events.push(kick, call, err);
    path = new TransmitPath({
      port,
      queue: new DriverQueue(ring, 0, { size: SIZE, eventIdx: true }),
      slots,
      events: { kick, call, err } as never,
      limits: { longest: SIZE * STRIDE, checksums: false, gsoTypes: 0 },
      onFault: (fault) => faults.push(fault.cause),
      connect: (arena) => asked.push(arena) < 0,
    });
    path.start();
  });
  afterEach(() => {
    path.close();
    for (const event of events.splice(0)) event.close();
    assert.deepEqual(faults.splice(0), []);
  });

  /** The device takes one frame and gives it back: its bytes. */
  function complete(): Uint8Array {
    const chain = device.pop();
    assert.ok(chain);
    device.push(chain.head, 0);
    if (device.publish()) events[1]?.signal();
    return device.read(chain).subarray(HEADER_SIZE);
  }

  it('counts the calls of the device, and not those that it makes itself', async () => {
    const looked = () => new Promise((resolve) => setTimeout(resolve, 0));
    const reservation = path.reserve(40);
    assert.ok(reservation);
    while (path.send(new Uint8Array(40), undefined));
    path.cancel(reservation); // There is room, which who was refused is told by a signal.
    await looked();
    assert.equal(path.statistics().calls, 0);
    events[1]?.signal();
    path.resumed();
    await looked();
    assert.equal(path.statistics().calls, 1);
  });

  /** Reserves two slots of the ring: of the others no more than two follow each other. */
  function breakUp(): Reservation[] {
    const isKept = (_: unknown, slot: number) => slot === 2 || slot === 5;
    const reserved = reserveAllBut(0);
    for (const one of reserved.filter((one, slot) => !isKept(one, slot))) path.cancel(one);
    return reserved.filter(isKept);
  }

  it('sends a long frame from one piece where slots follow each other, else from several', () => {
    const frame = Uint8Array.from({ length: 3 * STRIDE + 7 }, (_, i) => i);
    const pieces = (): number => {
      assert.equal(path.send(frame, undefined), true);
      path.flush();
      const chain = device.pop();
      assert.ok(chain);
      assert.deepEqual(device.read(chain).subarray(HEADER_SIZE), frame);
      device.push(chain.head, 0);
      device.publish();
      path.reclaim();
      return chain.segments.length;
    };
    const reserved = breakUp();
    assert.equal(pieces(), 4);
    for (const one of reserved) path.cancel(one);
    assert.equal(pieces(), 1);
  });

  it('takes back what was completed before it sends a long frame from several pieces', () => {
    const frame = new Uint8Array(2 * slots.capacity);
    const short = new Uint8Array(slots.capacity);
    for (let i = 0; i < SIZE - 3; i++) path.send(short, undefined);
    path.flush();
    for (let i = 0; i < SIZE - 3; i++) complete(); // three are free, at the end, and the first ones are used
    const [one] = [path.reserve(20), path.reserve(20)];
    assert.ok(one);
    path.cancel(one);
    assert.equal(path.send(frame, undefined), true);
    path.flush();
    assert.equal(device.pop()?.segments.length, 1);
  });

  it('copies no more of a long frame than was asked for, whatever it has become', () => {
    const frame = new Uint8Array(6 * STRIDE).fill(9);
    Object.defineProperty(frame, 'length', { value: slots.capacity + 10 });
    assert.equal(path.send(frame, undefined), true);
    const free = slots.payloads.slice(2);
    assert.ok(free.every((bytes) => bytes.every((byte) => byte === 0)));
  });

  it('has all its slots after a long frame that can not be read', () => {
    const frame = new Uint8Array(3 * STRIDE);
    frame.subarray = () => {
      throw new Error('gone');
    };
    assert.throws(() => path.send(frame, undefined), /gone/);
    reserveAllBut(0);
  });

  it('sends a frame that fills the whole ring in one piece', () => {
    const frame = new Uint8Array(path.longest).fill(7);
    assert.equal(path.send(frame, undefined), true);
    path.flush();
    const chain = device.pop();
    assert.ok(chain);
    assert.equal(chain.segments.length, 1);
    assert.deepEqual(device.read(chain).subarray(HEADER_SIZE), frame);
  });

  for (const isBroken of [false, true])
    it(`forwards a frame from several slots of one size to ${isBroken ? 'several' : 'a row'} of another`, () => {
      if (isBroken) breakUp();
      const source = new SlotArea(new ArrayBuffer(4 * 2 * STRIDE), 0, 4, 2 * STRIDE, 0);
      const frame = new Frame(source, { busyFrames: 0, reclaim: () => undefined }, 2);
      const parts = [frame.first, source.tails[0] ?? frame.first, source.tails[3] ?? frame.first];
      for (const [i, part] of parts.entries()) part.forEach((_, at) => (part[at] = 100 * i + at));
      frame.firstLength = frame.first.length;
      frame.extraCount = 2;
      frame.extraSlots.push(0, 3);
      frame.extraLengths.push(source.tailCapacity, 5);
      frame.length = frame.firstLength + source.tailCapacity + 5;
      assert.equal(path.forward(frame), true);
      path.flush();
      const expected = parts.flatMap((part, i) => [...part.subarray(0, i === 2 ? 5 : undefined)]);
      assert.deepEqual([...complete()], expected);
      assert.deepEqual([...frame.bytes], expected);
    });

  it('promises drain also when what was taken back is too little for the frame', async () => {
    const short = new Uint8Array(slots.capacity).fill(1);
    const long = new Uint8Array(slots.capacity + 2 * slots.tailCapacity).fill(2);
    while (path.send(short, undefined));
    assert.equal(path.statistics().full, 1);
    const drained = once(port, 'drain');
    complete();
    assert.equal(path.send(long, undefined), false, 'one slot is free, three are needed');
    assert.equal(path.statistics().full, 2);
    for (let i = 1; i < SIZE; i++) assert.deepEqual(complete(), short);
    await drained;
    assert.equal(path.send(long, undefined), true);
    path.flush();
    assert.deepEqual(complete(), long);
  });

  const FRAME = new Uint8Array(20).fill(3);

  /** Reserves slots until `free` are left. */
  function reserveAllBut(free: number): Reservation[] {
    return Array.from({ length: SIZE - free }, () => {
      const reservation = path.reserve(20);
      assert.ok(reservation);
      return reservation;
    });
  }

  it('keeps the promise of drain when most of the ring is reserved', async () => {
    reserveAllBut(1);
    assert.equal(path.send(FRAME, undefined), true);
    assert.equal(path.send(FRAME, undefined), false);
    const drained = once(port, 'drain');
    complete();
    await drained;
    assert.equal(path.send(FRAME, undefined), true);
  });

  it('keeps the promise of drain when it is a reservation that makes room', async () => {
    const [first] = reserveAllBut(0);
    assert.equal(path.send(FRAME, undefined), false);
    const drained = once(port, 'drain');
    assert.ok(first);
    path.cancel(first);
    await drained;
    assert.equal(path.send(FRAME, undefined), true);
  });

  it('goes on to wait for drained() when a handler of drain throws', async () => {
    for (let i = 0; i < SIZE; i++) path.send(FRAME, undefined);
    assert.equal(path.send(FRAME, undefined), false);
    const uncaught = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    const thrown = once(process, 'uncaughtException');
    port.on('drain', () => {
      throw new Error('a handler failed');
    });
    const drained = path.drained();
    for (let i = 0; i < SIZE - 1; i++) complete();
    try {
      await thrown;
    } finally {
      for (const listener of uncaught) process.on('uncaughtException', listener);
    }
    complete();
    await drained;
  });

  it('resolves drained() although a handler of drain throws, which nobody but the process hears of', async () => {
    while (path.send(FRAME, undefined));
    for (let i = 0; i < SIZE; i++) complete();
    port.on('drain', () => {
      throw new Error('a handler failed');
    });
    const uncaught = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    const thrown = once(process, 'uncaughtException');
    try {
      await path.drained();
      assert.match(String(await thrown), /a handler failed/);
    } finally {
      for (const listener of uncaught) process.on('uncaughtException', listener);
    }
  });

  it('keeps no process alive for a ring that will not go on', async () => {
    let isHeld = false;
    const call = events[1];
    assert.ok(call);
    call.ref = () => void (isHeld = true);
    call.unref = () => void (isHeld = false);
    while (path.send(FRAME, undefined));
    const drained = path.drained();
    assert.equal(isHeld, true);
    path.giveUp(new VhostError('ERR_VHOST_QUEUE_BROKEN', 'no more'));
    await assert.rejects(drained, { code: 'ERR_VHOST_QUEUE_BROKEN' });
    assert.equal(path.send(FRAME, undefined), false);
    assert.equal(isHeld, false);
  });

  it("refuses another port's reservation", () => {
    const [mine] = reserveAllBut(SIZE - 1);
    assert.ok(mine);
    const other = new Reservation(new Uint8Array(20), mine.slot);
    assert.throws(() => {
      path.commit(other, undefined);
    }, TypeError);
    path.commit(mine, undefined);
  });

  /** A frame as a port with an arena of its own receives it, over `extra` further slots. */
  function received(arena: Arena, extra: number): Frame {
    const frame = new Frame(arena.receiveSlots, { busyFrames: 0, reclaim: () => undefined }, 0);
    frame.length = frame.firstLength = 60;
    for (let i = 1; i <= extra; i++) {
      frame.extraSlots.push(i);
      frame.extraLengths.push(60);
      frame.extraCount++;
      frame.length += 60;
    }
    return frame;
  }

  for (const extra of [0, 1]) {
    it(`refuses a frame over ${String(1 + extra)} slots whose port is closed, and asks for none of its memory`, () => {
      const arena = Arena.allocate({ queueSize: 4, slotPayload: 1518 });
      const frame = received(arena, extra);
      arena.close();
      assert.throws(() => path.forward(frame), RangeError);
      assert.deepEqual(asked, []);
    });
  }

  it('leaves what can not be true to the repair, and is only full for the caller', () => {
    for (let i = 0; i < SIZE; i++) path.send(FRAME, undefined);
    events[1]?.unwatch(); // nobody looks but the caller
    device.jump(SIZE + 1);
    assert.equal(path.send(FRAME, undefined), false);
    assert.equal(path.statistics().inFlight, SIZE);
    assert.ok(faults.splice(0).every((cause) => cause === 'corrupt'));
  });

  it('resolves drained() with the frames sent before it, though others follow', async () => {
    path.send(FRAME, undefined);
    const drained = path.drained();
    path.send(FRAME, undefined);
    path.flush();
    complete();
    await drained;
    assert.equal(path.statistics().inFlight, 1);
  });

  it('resolves drained() with frames that were completed when the ring begins anew with others', async () => {
    path.send(FRAME, undefined);
    const first = path.drained();
    path.send(FRAME, undefined);
    const both = path.drained();
    assert.ok(device.pop());
    device.push(0, 0);
    device.publish();
    path.recover(1, true);
    await first;
    await assert.rejects(both, { code: 'ERR_VHOST_FRAMES_LOST', message: /lost 1 frames/ });
  });

  it('sends no header of an earlier frame, and no rest of one in its place', () => {
    const header = { flags: 0, gsoType: 0, hdrLen: 20, gsoSize: 0, csumStart: 0, csumOffset: 0 };
    const long = new Uint8Array(slots.capacity + slots.tailCapacity).fill(9);
    for (let round = 0; round < SIZE; round++) {
      path.send(FRAME, round % 2 === 0 ? header : undefined);
      path.send(long, undefined);
      path.send(FRAME, undefined);
      path.flush();
      const headers = [0, 1, 2].map(() => {
        const chain = device.pop();
        assert.ok(chain);
        device.push(chain.head, 0);
        return [...device.read(chain).subarray(0, HEADER_SIZE)];
      });
      device.publish();
      path.reclaim();
      const zeros = new Array<number>(HEADER_SIZE).fill(0);
      const first = round % 2 === 0 ? [0, 0, 20, ...zeros.slice(3)] : zeros;
      assert.deepEqual(headers, [first, zeros, zeros]);
    }
  });

  /** Every frame carries its number, and is filled with what tells its kind. */
  class Sender {
    readonly sent: Uint8Array[] = [];
    taken = 0;
    /** Of frames that were sent with a header. */
    readonly headerLengths: Record<number, number> = {};
    readonly #reserved: Reservation[] = [];

    step(kind: number, much: number): void {
      const length = much === 0 ? 21 : 20;
      if (kind < 6) this.sendSome(1 + (much % 5), length);
      else if (kind < 9) this.sendPacked(1 + (much % 9), length);
      else if (kind < 12) this.writeSome(1 + (much % 5), length);
      else if (kind === 12) this.reserve(much % 4 === 0 ? slots.capacity + length : length);
      else if (kind < 15) this.commit();
      else if (kind < 17) path.flush();
      else if (kind === 17) this.sendLong();
      else if (kind === 18) this.sendWithHeader();
      else this.complete(much);
    }

    next(length: number): Uint8Array {
      const number = this.sent.length;
      return Uint8Array.from({ length }, (_, i) => (i === 0 ? number & 255 : number >> 8));
    }

    sendSome(count: number, length: number): void {
      for (let i = 0; i < count; i++) {
        const frame = this.next(length);
        if (path.send(frame, undefined)) this.sent.push(frame);
      }
    }

    sendPacked(count: number, frameLength: number): void {
      const bytes = new Uint8Array(count * frameLength);
      const first = this.sent.length;
      for (let i = 0; i < count; i++) {
        const frame = this.next(frameLength);
        bytes.set(frame, i * frameLength);
        this.sent.push(frame);
      }
      // Those that were not taken keep their numbers for the next.
      this.sent.length = first + path.sendBatch({ bytes, frameLength });
    }

    writeSome(count: number, length: number): void {
      path.sendInPlace(count, length, (run) => {
        run.bytes.fill(0xee); // also what lies between the frames: nothing of it may reach a header
        for (let i = 0; i < run.count; i++) {
          const frame = this.next(length);
          run.bytes.set(frame, i * run.stride);
          this.sent.push(frame);
        }
      });
    }

    reserve(length: number): void {
      const reservation = path.reserve(length);
      if (reservation) this.#reserved.push(reservation);
    }

    commit(): void {
      const reservation = this.#reserved.shift();
      if (!reservation) return;
      const frame = this.next(reservation.bytes.length);
      reservation.bytes.set(frame);
      path.commit(reservation, undefined);
      this.sent.push(frame);
    }

    sendWithHeader(): void {
      const header = { flags: 0, gsoType: 0, hdrLen: 20, gsoSize: 0, csumStart: 0, csumOffset: 0 };
      const frame = this.next(20);
      if (!path.send(frame, header)) return;
      this.headerLengths[this.sent.length] = header.hdrLen;
      this.sent.push(frame);
    }

    end(): void {
      for (const reservation of this.#reserved) path.cancel(reservation);
      path.flush();
      this.complete(1);
    }

    sendLong(): void {
      const frame = this.next(slots.capacity + 5);
      if (path.send(frame, undefined)) this.sent.push(frame);
    }

    /** The device takes what it has seen, sometimes in another order. */
    complete(much: number): void {
      const chains = [];
      for (let chain = device.pop(); chain; chain = device.pop()) chains.push(chain);
      for (const chain of chains) {
        const header = new Uint8Array(HEADER_SIZE);
        header[2] = this.headerLengths[this.taken] ?? 0;
        const expected = [...header, ...(this.sent[this.taken++] ?? [])];
        assert.deepEqual([...device.read(chain)], expected);
      }
      if (much % 8 === 0) chains.reverse();
      for (const chain of chains) device.push(chain.head, 0);
      device.publish();
    }
  }

  it('sends every frame once, whole and in its turn, however it is written', () => {
    const steps = fc.array(fc.tuple(fc.nat(23), fc.nat(31)), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(steps, (all) => {
        const sender = new Sender();

        path.recover(0, true);
        device.reset();
        for (const [kind, much] of all) sender.step(kind, much);
        sender.end();
        assert.equal(sender.taken, sender.sent.length);
      }),
      { numRuns: 500 },
    );
  });

  it('lets the worker have a frame at the end of the turn, also after many of one length', async () => {
    for (let i = 0; i < 3 * SIZE; i++) {
      path.send(FRAME, undefined);
      assert.equal(device.pop(), undefined);
      await Promise.resolve();
      assert.deepEqual(complete(), FRAME);
      path.reclaim();
    }
  });

  describe('reserve() of more than a slot', () => {
    const long = 2 * STRIDE + 9;
    const frame = Uint8Array.from({ length: long }, (_, i) => i);

    function reserve(): Reservation {
      const reservation = path.reserve(long);
      assert.ok(reservation);
      assert.equal(reservation.bytes.length, long);
      return reservation;
    }

    it('gives memory in one piece, which goes out in one descriptor, again and again', () => {
      for (let round = 0; round < 3 * SIZE; round++) {
        const reservation = reserve();
        reservation.bytes.set(frame);
        path.commit(reservation, undefined);
        path.send(FRAME, undefined);
        path.flush();
        assert.deepEqual(complete(), frame);
        assert.deepEqual(complete(), FRAME);
        path.reclaim();
      }
      assert.equal(path.statistics().inFlight, 0);
    });

    it('leaves headers of zeros to the frames that come after', () => {
      const reservation = reserve();
      reservation.bytes.fill(0xff);
      path.cancel(reservation);
      for (let i = 0; i < SIZE; i++) assert.equal(path.send(FRAME, undefined), true);
      path.flush();
      for (let i = 0; i < SIZE; i++) {
        const chain = device.pop();
        assert.ok(chain);
        assert.deepEqual(device.read(chain).subarray(0, HEADER_SIZE), new Uint8Array(HEADER_SIZE));
      }
    });

    it('says no when there are not so many slots in a row, and drain comes', async () => {
      const all = [reserve(), reserve()];
      assert.equal(path.reserve(long), undefined);
      for (const one of all) path.commit(one, undefined);
      path.flush();
      const drained = once(port, 'drain');
      complete();
      complete();
      await drained;
      path.cancel(reserve());
    });

    it('finds a row as soon as what lay between is given back', () => {
      const between = breakUp();
      path.send(FRAME, undefined);
      path.flush();
      assert.equal(path.reserve(long), undefined);
      for (const one of between) path.cancel(one);
      path.cancel(reserve());
    });

    it('finds a row as soon as what lay between was sent', () => {
      for (const one of breakUp()) path.commit(one, undefined);
      path.send(FRAME, undefined); // stays in flight
      path.flush();
      assert.equal(path.reserve(long), undefined);
      complete();
      complete();
      reserve();
    });

    it('finds a row in a ring that began anew before the device had used anything', () => {
      const [last] = [path.reserve(20), path.reserve(20)];
      assert.ok(last);
      path.cancel(last); // the last but one stays the caller's
      for (let i = 0; i < SIZE - 4; i++) path.send(FRAME, undefined);
      assert.equal(path.reserve(long), undefined, 'three are free, and no three in a row');
      path.recover(0, true);
      reserve();
    });

    it('keeps what was written when the ring begins anew', () => {
      const first = path.reserve(20);
      const reservation = reserve();
      reservation.bytes.set(frame);
      path.send(FRAME, undefined);
      path.recover(0, true);
      device.reset();
      assert.ok(first);
      path.cancel(first);
      for (let i = 0; i < SIZE - 3; i++) assert.equal(path.send(FRAME, undefined), true);
      assert.equal(path.send(FRAME, undefined), false, 'the reserved slots are not free');
      path.commit(reservation, undefined);
      path.flush();
      for (let i = 0; i < SIZE - 3; i++) assert.deepEqual(complete(), FRAME);
      assert.deepEqual(complete(), frame);
    });

    it('refuses what the whole ring does not hold, and what is no number', () => {
      assert.throws(() => path.reserve(SIZE * STRIDE), RangeError);
      assert.throws(() => path.reserve('20' as never), RangeError);
      assert.throws(() => path.reserve(20.5), RangeError);
    });
  });

  describe('sendBatch() of packed frames', () => {
    const packed = (count: number, frameLength: number) => ({
      bytes: Uint8Array.from({ length: count * frameLength }, (_, i) => 1 + i / frameLength),
      frameLength,
    });

    it('sends each of them, at first and once the slots have that length', () => {
      for (let round = 0; round < 5; round++) {
        assert.equal(path.sendBatch(packed(5, 20)), 5);
        path.flush();
        for (let i = 1; i <= 5; i++) assert.deepEqual(complete(), new Uint8Array(20).fill(i));
        path.reclaim();
      }
      const { frames, bytes } = path.statistics();
      assert.deepEqual({ frames, bytes }, { frames: 25, bytes: 500 });
    });

    it('takes as many as there is room for, and drain comes', async () => {
      path.sendBatch(packed(SIZE / 2, 20));
      path.flush();
      for (let i = 0; i < SIZE / 2; i++) complete();
      assert.equal(path.sendBatch(packed(SIZE + 1, 20)), SIZE);
      assert.equal(path.sendBatch(packed(1, 20)), 0);
      const drained = once(port, 'drain');
      for (let i = 1; i <= SIZE; i++) assert.deepEqual(complete(), new Uint8Array(20).fill(i));
      await drained;
      assert.equal(path.sendBatch(packed(2, 20)), 2);
    });

    it('waits for a quarter of the ring rather than to go on by single frames', async () => {
      assert.equal(path.sendBatch(packed(SIZE, 20)), SIZE);
      path.flush();
      complete();
      assert.equal(path.sendBatch(packed(SIZE, 20)), 0);
      assert.equal(path.sendBatch(packed(1, 20)), 1);
      path.flush();
      const drained = once(port, 'drain');
      for (let i = 0; i < SIZE; i++) complete();
      await drained;
      assert.equal(path.sendBatch(packed(SIZE, 20)), SIZE);
    });

    it('takes none of no bytes', () => {
      assert.equal(path.sendBatch(packed(0, 20)), 0);
    });

    it('is refused while a frame is being written in place, and after the close', () => {
      path.sendInPlace(1, 20, () => {
        assert.throws(() => path.sendBatch(packed(1, 20)), { code: 'ERR_VHOST_STATE' });
      });
      path.close();
      assert.throws(() => path.sendBatch(packed(1, 20)), { code: 'ERR_VHOST_CLOSED' });
    });

    const wrong: readonly (readonly [string, unknown])[] = [
      ['frames', undefined],
      ['frames', 'frames'],
      ['frames', { bytes: [1, 2], frameLength: 20 }],
      ['frameLength', { bytes: new Uint8Array(40) }],
      ['frameLength', { bytes: new Uint8Array(40), frameLength: '20' }],
      ['frameLength', { bytes: new Uint8Array(40), frameLength: 13 }],
      ['frameLength', { bytes: new Uint8Array(50), frameLength: 20 }],
      ['length', { bytes: new Uint8Array(2 * STRIDE), frameLength: STRIDE }],
    ];

    it('reads each property once, and nothing after the close', () => {
      let asked = 0;
      const changing = {
        bytes: new Uint8Array(40),
        get frameLength() {
          return asked++ === 0 ? 20 : 15.5;
        },
      };
      assert.equal(path.sendBatch(changing), 2);
      path.flush();
      assert.equal(complete().length, 20);
      const closing = {
        get bytes() {
          path.close();
          return new Uint8Array(40);
        },
        frameLength: 20,
      };
      assert.throws(() => path.sendBatch(closing), { code: 'ERR_VHOST_CLOSED' });
    });

    for (const [what, frames] of wrong) {
      it(`names what does not fit: ${what}, of ${JSON.stringify(frames)}`, () => {
        assert.throws(() => path.sendBatch(frames as never), new RegExp(what));
        assert.equal(device.pop(), undefined);
      });
    }
  });

  describe('sendInPlace()', () => {
    /** Each frame is full of its own number, counted from 1. */
    const write = ({ bytes, stride, count, index }: FrameRun) => {
      for (let i = 0; i < count; i++) bytes.fill(index + i + 1, i * stride, i * stride + 20);
    };

    it('sends what was written, each frame with its number', () => {
      assert.equal(path.sendInPlace(3, 20, write), 3);
      path.flush();
      for (const fill of [1, 2, 3]) assert.deepEqual(complete(), new Uint8Array(20).fill(fill));
      const { frames, bytes } = path.statistics();
      assert.deepEqual({ frames, bytes }, { frames: 3, bytes: 60 });
    });

    it('hands out frames that lie together in one piece, and begins another where the memory ends', () => {
      assert.equal(path.sendInPlace(SIZE - 2, 20, write), SIZE - 2);
      path.flush();
      for (let i = 0; i < SIZE - 2; i++) complete();
      const runs: [number, number, number][] = [];
      path.sendInPlace(5, 20, (run) => {
        runs.push([run.index, run.count, run.bytes.length]);
        write(run);
      });
      const lengthOf = (count: number) => (count - 1) * STRIDE + 20;
      assert.deepEqual(runs, [[0, 2, lengthOf(2)], [2, 3, lengthOf(3)]]); // prettier-ignore
      path.flush();
      for (const fill of [1, 2, 3, 4, 5]) {
        assert.deepEqual(complete(), new Uint8Array(20).fill(fill));
      }
    });

    it('lets nothing that is written between frames reach a header, also of a run that is not sent', () => {
      path.sendInPlace(3, 20, (run) => {
        run.bytes.fill(0xee);
        write(run);
      });
      const failing = (run: FrameRun) => {
        run.bytes.fill(0xee);
        throw new Error('no more');
      };
      assert.throws(() => path.sendInPlace(2, 20, failing), /no more/);
      for (let i = 0; i < 2; i++) path.send(new Uint8Array(20).fill(0xee), undefined);
      path.flush();
      for (const fill of [1, 2, 3, 0xee, 0xee]) {
        const chain = device.pop();
        assert.ok(chain);
        const wanted = [...new Uint8Array(HEADER_SIZE), ...new Uint8Array(20).fill(fill)];
        assert.deepEqual([...device.read(chain)], wanted);
      }
    });

    for (const count of [0, -1, 1e9]) {
      it(`clears the headers between frames also when the function makes ${String(count)} of their count`, () => {
        path.sendInPlace(3, 20, (run) => {
          run.bytes.fill(0xee);
          write(run);
          Object.assign(run, { count, bytes: new Uint8Array(0), stride: 1 });
        });
        path.flush();
        for (let i = 0; i < 3; i++) {
          const chain = device.pop();
          assert.ok(chain);
          assert.deepEqual(
            [...device.read(chain).subarray(0, HEADER_SIZE)],
            [...new Uint8Array(HEADER_SIZE)],
          );
        }
      });
    }

    it('refuses drained() while frames are being written, and drain still comes', async () => {
      while (path.send(FRAME, undefined));
      for (let i = 0; i < SIZE; i++) complete();
      const drain = once(port, 'drain');
      let refused: Promise<void> | undefined;
      path.sendInPlace(1, 20, () => {
        refused = path.drained();
      });
      await assert.rejects(refused ?? Promise.resolve(), { code: 'ERR_VHOST_STATE' });
      await drain;
    });

    it('takes as many as there is room for, and drain comes', async () => {
      assert.equal(path.sendInPlace(SIZE + 1, 20, write), SIZE);
      assert.equal(path.sendInPlace(1, 20, write), 0);
      const drained = once(port, 'drain');
      for (let i = 0; i < SIZE; i++) complete();
      await drained;
      assert.equal(path.sendInPlace(1, 20, write), 1);
    });

    it('sends nothing of a run whose writing throws, and goes on with the next', () => {
      const failing = () => {
        throw new Error('no more');
      };
      assert.throws(() => path.sendInPlace(5, 20, failing), /no more/);
      path.flush();
      assert.equal(device.pop(), undefined);
      assert.equal(path.send(FRAME, undefined), true);
    });

    it('lets nothing be sent while frames are being written', () => {
      const busy = { code: 'ERR_VHOST_STATE' };
      const reservation = path.reserve(20);
      assert.ok(reservation);
      path.sendInPlace(1, 20, ({ bytes }) => {
        bytes.fill(7);
        assert.throws(() => path.send(FRAME, undefined), busy);
        assert.throws(() => path.sendInPlace(1, 20, write), busy);
        assert.throws(() => path.reserve(20), busy);
        assert.throws(() => {
          path.commit(reservation, undefined);
        }, busy);
        path.flush();
      });
      path.commit(reservation, undefined);
      path.flush();
      assert.deepEqual(complete(), new Uint8Array(20).fill(7));
      assert.equal(complete().length, 20);
    });

    it('writes frames again when the ring begins anew while they are being written', () => {
      const seen: number[] = [];
      const written = path.sendInPlace(3, 20, (run) => {
        seen.push(run.index);
        write(run);
        if (seen.length === 1) path.recover(0, true);
      });
      assert.equal(written, 3);
      assert.deepEqual(seen, [0, 0]);
      path.flush();
      for (const fill of [1, 2, 3]) assert.deepEqual(complete(), new Uint8Array(20).fill(fill));
      assert.equal(path.statistics().frames, 3);
    });

    it('ends when the port is closed while frames are being written', () => {
      const closing = () => {
        path.close();
      };
      assert.throws(() => path.sendInPlace(3, 20, closing), { code: 'ERR_VHOST_CLOSED' });
      assert.equal(device.pop(), undefined);
    });

    const wrong: readonly (readonly [string, unknown, unknown, unknown])[] = [
      ['count', -1, 20, write],
      ['count', 1.5, 20, write],
      ['length', 1, 13, write],
      ['length', 1, STRIDE, write],
      ['write', 1, 20, undefined],
    ];
    for (const [what, count, length, how] of wrong) {
      it(`refuses a ${what} that does not fit`, () => {
        assert.throws(
          () => path.sendInPlace(count as number, length as number, how as never),
          new RegExp(what === 'length' ? 'frame|length' : what),
        );
        assert.equal(device.pop(), undefined);
      });
    }
  });
});
