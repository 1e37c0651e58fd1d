import assert from 'node:assert/strict';

import { SoftPort, softFrame } from './soft-port.js';
import { Cable } from '#lib/switch/cable';

const A = [2, 0, 0, 0, 0, 0xa];
const B = [2, 0, 0, 0, 0, 0xb];

const frames = (count: number) => Array.from({ length: count }, () => softFrame(B, A));

describe('Cable', () => {
  let left: SoftPort;
  let right: SoftPort;
  let cable: Cable;
  beforeEach(() => {
    [left, right] = [new SoftPort(), new SoftPort()];
    cable = new Cable(left, right);
  });

  it('sends what one port receives out of the other, both ways', () => {
    const [one, two, three] = [softFrame(B, A), softFrame(A, B), softFrame(A, A)];
    left.receive(one, three);
    right.receive(two);
    assert.deepEqual(right.sent, [one, three]);
    assert.deepEqual(left.sent, [two]);
    assert.equal(one.held, false);
  });

  it('keeps what finds no room, stops its sender, and goes on in the same order', () => {
    right.room = 1;
    const list = frames(4);
    left.receive(...list);
    assert.deepEqual(
      list.map(({ held }) => held),
      [false, true, true, true],
    );
    assert.equal(left.paused, true);
    right.empty(2);
    assert.deepEqual(
      list.map(({ held }) => held),
      [false, false, false, true],
    );
    assert.equal(left.paused, true);
    right.empty(1);
    assert.equal(left.paused, false);
    assert.deepEqual(right.sent, list);
    assert.equal(right.paused, false);
  });

  it('sends by the queue of the same number what came by one, as far as there are so many', () => {
    const second = new SoftPort();
    right.queues.push(second);
    const list = frames(3);
    for (const [queue, frame] of list.entries()) {
      left.emit('receive', Object.assign([frame], { queue }) as never);
    }
    assert.deepEqual(right.sent, [list[0], list[2]]);
    assert.deepEqual(second.sent, [list[1]]);
  });

  it('counts a frame that is too long for a port, and goes on', () => {
    left.receive(softFrame(B, A, 2000), softFrame(B, A));
    assert.equal(right.sent.length, 1);
    assert.equal(cable.counters(right).refused, 1);
    assert.equal(cable.counters(left).refused, 0);
  });

  it('drops and counts what is for a port that was closed, and goes on the other way', () => {
    right.closed = true;
    left.receive(...frames(2));
    right.receive(softFrame(A, B));
    assert.equal(cable.counters(right).dropped, 2);
    assert.equal(left.sent.length, 1);
    assert.equal(left.paused, false);
  });

  it('drops and counts what waits for a port when that is closed, and stops its sender no longer', () => {
    right.room = 1;
    const list = frames(3);
    left.receive(...list);
    right.closed = true;
    right.emit('close');
    assert.ok(list.every(({ held }) => !held));
    assert.equal(left.paused, false);
    assert.equal(cable.counters(right).dropped, 2);
    assert.equal(right.sent.length, 1);
  });

  it('lets go of everything when it is unplugged', () => {
    right.room = 0;
    const list = frames(3);
    left.receive(...list);
    cable.remove(new SoftPort());
    assert.equal(left.paused, true);
    cable.remove(right);
    assert.ok(list.every(({ held }) => !held));
    assert.equal(cable.counters(right).dropped, 3);
    assert.equal(left.paused, false);
    for (const port of [left, right]) assert.deepEqual(port.eventNames(), []);
  });
});
