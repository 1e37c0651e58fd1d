import assert from 'node:assert/strict';

import { EventFd } from '#lib/sys/eventfd';

describe('EventFd.wait()', () => {
  let eventfds: EventFd[];

  beforeEach(() => {
    eventfds = Array.from({ length: 4 }, () => new EventFd());
  });
  afterEach(() => {
    for (const eventfd of eventfds) eventfd.close();
  });

  it('says which were signalled, and drains none', () => {
    eventfds[1]?.signal();
    eventfds[3]?.signal();
    for (let again = 0; again < 2; again++) assert.equal(EventFd.wait(1000, ...eventfds), 0b1010);
    assert.equal(eventfds[1]?.drain(), 1);
    assert.equal(EventFd.wait(0, ...eventfds), 0b1000);
  });

  it('comes back when the time is over', () => {
    const began = performance.now();
    assert.equal(EventFd.wait(20, ...eventfds), 0);
    assert.ok(performance.now() - began >= 19);
  });

  it('refuses a long time, which nobody could end, and what is closed', () => {
    assert.throws(() => EventFd.wait(1001), RangeError);
    assert.throws(() => EventFd.wait(-1), RangeError);
    eventfds[2]?.close();
    assert.throws(() => EventFd.wait(0, ...eventfds), TypeError);
  });
});
