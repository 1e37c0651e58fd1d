import assert from 'node:assert/strict';
import { once } from 'node:events';

import { TestNetwork } from '../support/network.js';
import { PatternFrames } from '../support/pattern.js';
import { processState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import { Scribbler } from '../support/scribble.js';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';
import type { RepairReport } from '#lib/port/recovery';
import type { WorkerThread } from '#lib/sys/worker-thread';

const A = [2, 0, 0, 0, 0, 0xa];
const B = [2, 0, 0, 0, 0, 0xb];
const SIZE = 64;
const RECEIVE = 0;
const TRANSMIT = 1;
/** Below VIRTIO_RING_F_INDIRECT_DESC: `<linux/virtio_ring.h>`. */
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

describeWith(['vhost', 'tun', 'root'], 'repair', () => {
  let network: TestNetwork;
  let scribbler: Scribbler;
  let a: Port;
  let b: Port;
  let patterns: PatternFrames;
  let received: number;

  beforeEach(async () => {
    network = new TestNetwork();
    patterns = new PatternFrames(B, A);
    // The rings of the port that is opened last are the ones that are scribbled on.
    b = await openPort({ backend: { tap: 'b', netns: network.name }, queueSize: SIZE });
    scribbler = new Scribbler();
    a = await openPort({ backend: { tap: 'a', netns: network.name }, queueSize: SIZE });
    network.bridge('a', 'b');
    received = 0;
    b.on('receive', (batch) => {
      for (const frame of batch) if (PatternFrames.is(frame.first)) received++;
    });
    a.on('receive', () => undefined);
  });
  afterEach(async () => {
    scribbler.close();
    await a.close();
    await b.close();
    network.close();
  });

  /** The next report; the port runs again within a second. */
  async function repaired(): Promise<RepairReport> {
    const began = performance.now();
    const signal = AbortSignal.timeout(10_000);
    const [report] = (await once(a, 'repair', { signal })) as [RepairReport];
    const took = performance.now() - began;
    assert.ok(took < 1000, `repaired after ${took.toFixed(0)} ms`);
    return report;
  }

  /** The worker has come to rest: it sleeps, and its CPU clock stands still while others have turns. */
  async function rests(worker: WorkerThread): Promise<void> {
    for (let before = NaN; ;) {
      const now = worker.sleeps ? worker.cpuTime : undefined;
      if (now === before) return;
      before = now ?? NaN;
      for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Both directions carry frames. */
  async function works(): Promise<void> {
    const before = received;
    const arrived = new Promise<void>((resolve) => {
      a.once('receive', () => {
        resolve();
      });
    });
    for (let i = 0; i < 10; i++) a.send(patterns.make(i));
    await a.drained();
    while (received < before + 10)
      await once(b, 'receive', { signal: AbortSignal.timeout(10_000) });
    b.send(new PatternFrames(A, B).make(0));
    await arrived;
  }

  async function settled(): Promise<void> {
    await a.drained();
    const { link, transmit } = a.statistics();
    while (received < transmit.frames - transmit.lost) {
      await once(b, 'receive', { signal: AbortSignal.timeout(10_000) });
    }
    assert.equal(link.counters.receiveDropped, 0);
  }

  /** The device reads an avail index `by` further on: the driver's own next one would hide it. */
  function jump(ring: number, by: number): true {
    scribbler.jump(ring, by);
    scribbler.kick(ring);
    return true;
  }

  const faults: readonly (readonly [what: string, ring: number, scribble: () => unknown])[] = [
    ['an avail index out of reach', TRANSMIT, () => jump(TRANSMIT, 5000)],
    [
      'a head that is no descriptor',
      TRANSMIT,
      () => {
        scribbler.fillAvail(TRANSMIT, SIZE, SIZE);
        return jump(TRANSMIT, 1);
      },
    ],
    [
      'a descriptor outside the memory table',
      TRANSMIT,
      () => scribbler.descriptors(TRANSMIT, SIZE, { address: 2n ** 40n }),
    ],
    [
      'a chain that comes back to itself',
      TRANSMIT,
      () => scribbler.descriptors(TRANSMIT, SIZE, { flags: NEXT, next: (id) => id }),
    ],
    [
      'an indirect table that is no whole number of descriptors',
      TRANSMIT,
      () => scribbler.descriptors(TRANSMIT, SIZE, { flags: INDIRECT }),
    ],
    [
      'a descriptor that is to be written',
      TRANSMIT,
      () => scribbler.descriptors(TRANSMIT, SIZE, { flags: WRITE }),
    ],
    [
      'a chain that comes back to itself',
      RECEIVE,
      () => scribbler.descriptors(RECEIVE, SIZE, { flags: NEXT | WRITE, next: (id) => id }),
    ],
    [
      'an indirect table that is no whole number of descriptors',
      RECEIVE,
      () => scribbler.descriptors(RECEIVE, SIZE, { flags: INDIRECT, length: 17 }),
    ],
    ['a head that is no descriptor', RECEIVE, () => scribbler.fillAvail(RECEIVE, SIZE, SIZE)],
    [
      'a descriptor outside the memory table',
      RECEIVE,
      () => scribbler.descriptors(RECEIVE, SIZE, { address: 2n ** 40n }),
    ],
    [
      'a descriptor that is to be read',
      RECEIVE,
      () => scribbler.descriptors(RECEIVE, SIZE, { flags: 0 }),
    ],
  ];
  for (const [what, ring, scribble] of faults) {
    const name = ring === TRANSMIT ? 'transmit' : 'receive';
    it(`mends the ${name} ring after ${what}, and accounts for every frame`, async () => {
      await works();
      const report = repaired();
      const kicked = scribble();
      // What is sent hides a wrong index: the driver stores its own.
      const count = kicked === true ? 0 : 20;
      for (let i = 0; i < count; i++) a.send(patterns.make(i));
      b.send(new PatternFrames(A, B).make(0));
      const { cause, ring: faulty, unsent, unknown } = await report;
      assert.deepEqual({ cause, faulty }, { cause: 'kernel', faulty: name });
      await works();
      await settled();
      const { transmit, repairs } = a.statistics();
      assert.equal(repairs, 1);
      assert.equal(transmit.frames, 10 + count + 10);
      assert.equal(transmit.lost, unsent + unknown);
      assert.equal(received, transmit.frames - transmit.lost);
      if (ring === RECEIVE) assert.equal(transmit.lost, 0);
    });
  }

  it('ends the spinning of a worker over a header that the tap refuses', async () => {
    await works();
    const reservation = a.reserve(60);
    assert.ok(reservation);
    reservation.bytes.set(patterns.make(0));
    const header = new Uint8Array(reservation.bytes.buffer, reservation.bytes.byteOffset - 12, 12);
    a.commit(reservation);
    // Behind the back of the check: NEEDS_CSUM, far outside the frame.
    header.set([1, 0, 0, 0, 0, 0, 0xf0, 0xff, 0, 0]);
    for (let i = 0; i < 9; i++) a.send(patterns.make(i));
    const report = await repaired();
    assert.deepEqual(
      { ...report, message: '', milliseconds: 0 },
      {
        ...{ cause: 'stuck', ring: 'transmit', queue: 0, message: '' },
        ...{ unsent: 10, unknown: 0, milliseconds: 0 },
      },
    );
    assert.match(report.message, /spins/);
    const { worker } = a.statistics();
    assert.ok(worker);
    await works();
    await rests(worker);
  });

  it('makes a tap again that was deleted, while frames are on their way', async () => {
    await works();
    const filling = setInterval(() => {
      while (a.send(patterns.make(0)));
    }, 1);
    try {
      const report = repaired();
      network.ip('link', 'del', 'dev', 'a');
      const { cause, unsent, unknown } = await report;
      assert.equal(cause, 'backend');
      assert.equal(a.statistics().transmit.lost, unsent + unknown);
    } finally {
      clearInterval(filling);
    }
    network.ip('link', 'set', 'dev', 'a', 'master', 'br0');
    await works();
    assert.equal(a.name, 'a');
  });

  it('tells a lost tap as an error when repair is off, and goes down cleanly', async () => {
    const state = processState();
    const port = await openPort({
      backend: { tap: 'c', netns: network.name },
      repair: false,
    });
    const failed = once(port, 'error', { signal: AbortSignal.timeout(10_000) });
    network.ip('link', 'del', 'dev', 'c');
    port.send(patterns.make(0)); // nobody takes it any more
    const waiting = assert.rejects(port.drained(), { code: 'ERR_VHOST_BACKEND_LOST' });
    const [error] = (await failed) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ERR_VHOST_BACKEND_LOST');
    await waiting;
    port.send(patterns.make(0));
    await assert.rejects(port.drained(), { code: 'ERR_VHOST_BACKEND_LOST' });
    await port.close();
    assert.deepEqual(processState(), state);
  });

  it('rejects drained() when the frames it waits for are lost', async () => {
    scribbler.descriptors(TRANSMIT, SIZE, { address: 2n ** 40n });
    a.send(patterns.make(0));
    await assert.rejects(a.drained(), { code: 'ERR_VHOST_FRAMES_LOST' });
    await works();
  });

  it('gives up with an error when the cause comes back at once, again and again', async () => {
    let repairs = 0;
    const failed = once(a, 'error', { signal: AbortSignal.timeout(10_000) });
    a.on('repair', () => {
      repairs++;
      jump(TRANSMIT, 5000);
    });
    jump(TRANSMIT, 5000);
    const [error] = (await failed) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ERR_VHOST_QUEUE_BROKEN');
    assert.equal(repairs, 5);
  });
});
