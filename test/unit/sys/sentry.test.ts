import assert from 'node:assert/strict';
import { once } from 'node:events';
import path from 'node:path';
import { Worker } from 'node:worker_threads';

import { EventFd } from '#lib/sys/eventfd';
import { Sentry } from '#lib/sys/sentry';
import type { RingPlace } from '#lib/sys/sentry';

/** Milliseconds from one look to the next. */
const PERIOD = 5;

describe('Sentry', () => {
  let avail: Uint16Array;
  let used: Uint16Array;
  let sentries: Sentry[];

  beforeEach(() => {
    avail = new Uint16Array(4);
    used = new Uint16Array(4);
    sentries = [];
  });
  afterEach(() => {
    for (const sentry of sentries) sentry.close();
  });

  const place = (): RingPlace => ({
    avail: { words: avail, at: 1 },
    used: { words: used, at: 3 },
    size: 8,
  });

  function post(
    onAlarm: (seen: number | undefined) => void,
    ring: RingPlace = place(),
    seen?: number,
  ): Sentry {
    const sentry = new Sentry(ring, seen, PERIOD, onAlarm);
    sentries.push(sentry);
    return sentry;
  }

  const alarm = (ring?: RingPlace, seen?: number) =>
    new Promise<number | undefined>((resolve) => post(resolve, ring, seen));

  /** So many looks of a sentry later: each two of a ring that stands still are an alarm. */
  async function looks(count: number): Promise<void> {
    const still = {
      avail: { words: Uint16Array.of(1), at: 0 },
      used: { words: new Uint16Array(1), at: 0 },
    };
    for (let i = 0; i < count; i += 2) await alarm({ ...still, size: 1 });
  }

  it('says nothing while nothing waits, and while the used index moves', async () => {
    let alarms = 0;
    post(() => alarms++);
    const indices = Uint16Array.of(3, 0);
    const [next, now] = [0, 1].map((at) => ({ words: indices, at }));
    assert.ok(next && now);
    post(() => alarms++, { avail: next, used: now, size: 8 });
    const going = setInterval(() => indices.forEach((value, at) => (indices[at] = value + 1)), 1);
    await looks(10);
    clearInterval(going);
    assert.equal(alarms, 0);
  });

  it('tells once of a used index that stands still although something waits, and looks no more', async () => {
    avail[1] = 3;
    used[3] = 0xffff; // 4 wait
    let alarms = 0;
    const seen = await new Promise((resolve) =>
      post((index) => {
        alarms++;
        resolve(index);
      }),
    );
    assert.equal(seen, 0xffff);
    assert.equal(sentries[0]?.rest, Infinity);
    await looks(4);
    assert.equal(alarms, 1);
  });

  it('knows at its first look what was seen before it', async () => {
    avail[1] = 1;
    let late = false;
    post(() => (late = true));
    assert.equal(await alarm(place(), 0), 0);
    assert.equal(late, false, 'who was told of nothing waits for one look more');
  });

  it('tells of more chains than there can be, and of a ring whose memory is gone', async () => {
    avail[1] = 9;
    assert.equal(await alarm(), undefined, 'that it stands still is not known yet');
    avail[1] = 0;
    const gone = alarm();
    structuredClone(used.buffer, { transfer: [used.buffer as ArrayBuffer] });
    assert.equal(await gone, undefined);
  });

  it('tells of a backend that was closed, which it does not keep open', async () => {
    const backend = new EventFd();
    const told = alarm({ ...place(), backend: backend.descriptor });
    backend.close();
    assert.equal(await told, undefined);
    assert.equal(await alarm({ ...place(), backend: backend.descriptor }), undefined);
  });

  it('says what it saw last, for who goes on in its place', async () => {
    avail[1] = 1;
    let alarms = 0;
    const sentry = post(() => alarms++, { ...place(), size: 1 }, 7);
    const seen = () => sentry.seen;
    assert.equal(seen(), 7);
    while (seen() === 7) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([seen(), alarms], [0, 0]);
    sentry.close();
    assert.equal(seen(), undefined);
  });

  it('calls at once, and of no index, when its ring lies elsewhere', async () => {
    avail[1] = 1;
    const told = alarm(undefined, 0);
    sentries[0]?.retire();
    assert.equal(await told, undefined);
  });

  it('pauses, also with a ring that lies elsewhere, and goes on when it is told to', async () => {
    let alarms = 0;
    const sentry = post(() => alarms++);
    sentry.pause();
    sentry.retire();
    assert.equal(sentry.rest, Infinity);
    await looks(4);
    assert.equal(alarms, 0);
    sentry.again(undefined);
    assert.ok(sentry.rest <= PERIOD);
    await looks(2);
    assert.equal(alarms, 1);
  });

  it('says nothing once it is closed, twice or before its first look', async () => {
    avail[1] = 1;
    let alarms = 0;
    const sentry = post(() => alarms++, place(), 0);
    sentry.close();
    sentry.close();
    sentry.again(0);
    sentry.retire();
    sentry.pause();
    await looks(4);
    assert.deepEqual([alarms, sentry.rest], [0, Infinity]);
  });

  it('lets a Worker end in which one still looks', async () => {
    const worker = new Worker(path.join(__dirname, 'sentry.worker.js'));
    assert.deepEqual(await once(worker, 'exit'), [0]);
  });
});
