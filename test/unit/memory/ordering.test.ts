import assert from 'node:assert/strict';
import { once } from 'node:events';
import path from 'node:path';
import { Worker } from 'node:worker_threads';

import { STORES, payloadWords, stores, waitFor } from './ordering.shared.js';
import type { OrderingTask } from './ordering.shared.js';
import { storeRelease } from '#lib/memory/ordering';
import { DriverQueue } from '#lib/ring/driver-queue';
import { Pages } from '#lib/sys/pages';

/** Ordered operations of both tests together; the figure of the promise is 10^8. */
const OPERATIONS = Number(process.env['VHOST_STRESS_OPERATIONS'] ?? 110_000_000);
const DEADLINE_MS = 240_000;

/** Runs `here` beside a Worker that maps the same physical pages; gives the Worker's result. */
async function beside(task: Omit<OrderingTask, 'fd'>, here: (buffer: ArrayBuffer) => void) {
  const pages = Pages.allocate({ byteLength: task.byteLength, shared: true });
  const descriptor = pages.descriptor();
  assert.ok(descriptor);
  const workerData: OrderingTask = { ...task, fd: descriptor.fd };
  const worker = new Worker(path.join(__dirname, 'ordering.worker.js'), { workerData });
  try {
    await once(worker, 'message');
    const result = once(worker, 'message');
    here(pages.buffer);
    const [answer] = (await result) as [number];
    return { answer, pages };
  } finally {
    await worker.terminate();
    descriptor.close();
    pages.close();
  }
}

describe('ordering between two threads over the same pages', function () {
  this.timeout(DEADLINE_MS);

  it('never shows an index before what it announces: a ring with payloads, both ways', async () => {
    const size = 256;
    const rounds = Math.ceil(OPERATIONS / 10);
    const task = { kind: 'device', byteLength: 1 << 20, size, rounds } as const;
    let completed = 0;
    const { answer } = await beside(task, (buffer) => {
      const payload = payloadWords(buffer, size);
      const queue = new DriverQueue(buffer, 0, { size, eventIdx: true });
      for (let sent = 0; completed < rounds;) {
        for (let i = 0; i < 32 && sent < rounds; i++) {
          const head = queue.acquire();
          if (head < 0) break;
          payload[head * 16] = sent;
          payload[head * 16 + 15] = ~sent;
          queue.setLength(head, 64);
          queue.offer(head);
          sent++;
        }
        queue.publish();
        completed += queue.poll();
        for (let head = queue.take(); head >= 0; head = queue.take()) queue.release(head);
      }
    });
    assert.equal(answer, 0, `${String(answer)} payloads were older than their index`);
    assert.equal(completed, rounds);
  });

  it('never lets a load overtake the store before it: one of two sides sees the other', async () => {
    const rounds = Math.min(65_000, Math.ceil((OPERATIONS * 0.45) / STORES));
    const task = { kind: 'stores', byteLength: 1 << 20, size: 1, rounds } as const;
    let missed = 0;
    let raced = 0;
    await beside(task, (buffer) => {
      const side = stores(buffer);
      for (let round = 1; round <= rounds; round++) {
        storeRelease(side.words, side.first, 0);
        storeRelease(side.words, side.second, 0);
        storeRelease(side.words, side.go, round);
        side.run(side.first, side.second, side.seenByFirst);
        waitFor(side.words, side.done, round);
        for (let mine = 1; mine <= STORES; mine++) {
          // The first store of theirs that my load did not see: their load behind it saw my store.
          const theirs = (side.seenByFirst[mine] ?? 0) + 1;
          if (theirs > 1 && theirs <= STORES) raced++;
          if (theirs <= STORES && (side.seenBySecond[theirs] ?? 0) < mine) missed++;
        }
      }
    });
    assert.equal(missed, 0, `${String(missed)} times neither side saw the other`);
    assert.ok(raced > 0, 'the two threads never ran at the same time');
  });
});
