import assert from 'node:assert/strict';

import { SoftPort, softFrame } from './soft-port.js';
import { LearningSwitch } from '#lib/switch/learning-switch';

const A = [2, 0, 0, 0, 0, 0xa];
const B = [2, 0, 0, 0, 0, 0xb];
const NOBODY = [2, 0, 0, 0, 0, 0xee];
const ALL = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
const GROUP = [0x33, 0x33, 0, 0, 0, 1];

describe('LearningSwitch', () => {
  let fabric: LearningSwitch;
  let a: SoftPort;
  let b: SoftPort;
  let c: SoftPort;
  beforeEach(() => {
    fabric = new LearningSwitch();
    [a, b, c] = [new SoftPort(), new SoftPort(), new SoftPort()];
    for (const port of [a, b, c]) fabric.add(port);
  });

  const counts = () => [a, b, c].map(({ sent }) => sent.length);

  it('sends a frame for an unknown address to all ports but that it came from, the same frame to each', () => {
    const frame = softFrame(NOBODY, A);
    a.receive(frame);
    assert.deepEqual(counts(), [0, 1, 1]);
    assert.equal(b.sent[0], frame);
    assert.equal(c.sent[0], frame);
    assert.equal(fabric.counters(a).flooded, 1);
  });

  it('sends a frame for a known address there alone', () => {
    b.receive(softFrame(ALL, B));
    assert.deepEqual(counts(), [1, 0, 1]);
    a.receive(softFrame(B, A), softFrame(B, A));
    assert.deepEqual(counts(), [1, 2, 1]);
    b.receive(softFrame(A, B));
    assert.deepEqual(counts(), [2, 2, 1]);
    assert.equal(fabric.addresses, 2);
  });

  it('follows an address that moves to another port', () => {
    b.receive(softFrame(ALL, B));
    c.receive(softFrame(ALL, B));
    a.receive(softFrame(B, A));
    assert.deepEqual(counts(), [2, 1, 2]);
  });

  it('sends nothing back where it came from', () => {
    a.receive(softFrame(ALL, A));
    a.receive(softFrame(A, B));
    assert.deepEqual(counts(), [0, 1, 1]);
    assert.equal(fabric.counters(a).filtered, 1);
  });

  it('sends groups to everybody, also when a group was given as a source', () => {
    b.receive(softFrame(A, GROUP));
    a.receive(softFrame(GROUP, A));
    assert.deepEqual(counts(), [1, 1, 2]);
    assert.equal(fabric.addresses, 1);
  });

  it('keeps what is for the next bridge alone', () => {
    for (const last of [0, 2, 0xe, 0xf]) a.receive(softFrame([1, 0x80, 0xc2, 0, 0, last], A));
    assert.deepEqual(counts(), [0, 0, 0]);
    assert.equal(fabric.counters(a).filtered, 4);
    a.receive(softFrame([1, 0x80, 0xc2, 0, 0, 0x10], A));
    assert.deepEqual(counts(), [0, 1, 1]);
  });

  it('loses a frame whose port is full, and only for that port', () => {
    b.room = 0;
    a.receive(softFrame(ALL, A));
    assert.deepEqual(counts(), [0, 0, 1]);
    assert.equal(fabric.counters(b).dropped, 1);
    assert.equal(fabric.counters(c).dropped, 0);
  });

  it('counts a frame that is too long for a port', () => {
    a.receive(softFrame(ALL, A, 4000));
    assert.deepEqual(counts(), [0, 0, 0]);
    assert.equal(fabric.counters(b).refused, 1);
  });

  it('goes on without a port that was taken out, or closed, and forgets what was behind it', () => {
    b.receive(softFrame(ALL, B));
    fabric.remove(b);
    fabric.remove(b);
    assert.equal(b.listenerCount('receive'), 0);
    assert.equal(fabric.addresses, 0);
    c.closed = true;
    a.receive(softFrame(B, A));
    assert.deepEqual(counts(), [1, 0, 1]);
    fabric.close();
    assert.equal(a.listenerCount('receive'), 0);
  });

  it('takes each port once', () => {
    assert.throws(() => fabric.add(a), /^RangeError: port must be one that is not in the switch/);
  });
});
