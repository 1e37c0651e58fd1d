import { parentPort, workerData } from 'node:worker_threads';

import { payloadWords, stores, waitFor } from './ordering.shared.js';
import type { OrderingTask } from './ordering.shared.js';
import { SoftDevice } from '../../support/soft-device.js';
import { storeRelease } from '#lib/memory/ordering';
import { Pages } from '#lib/sys/pages';

/** The device's side of a ring: holds each payload against what must be there, completes at once. */
function device({ size, rounds }: OrderingTask, buffer: ArrayBuffer): number {
  const ring = new SoftDevice(buffer, 0, size, { eventIdx: true });
  const payload = payloadWords(buffer, size);
  let wrong = 0;
  for (let seen = 0; seen < rounds;) {
    for (let chain = ring.pop(); chain; chain = ring.pop()) {
      const at = chain.head * 16;
      const expected = seen++ >>> 0;
      if (payload[at] !== expected || payload[at + 15] !== ~expected >>> 0) wrong++;
      ring.push(chain.head, 0);
    }
    ring.publish();
  }
  return wrong;
}

/** The other of two sides that each store to a word of their own and then read the other's. */
function otherSide({ rounds }: OrderingTask, buffer: ArrayBuffer): number {
  const side = stores(buffer);
  for (let round = 1; round <= rounds; round++) {
    waitFor(side.words, side.go, round);
    side.run(side.second, side.first, side.seenBySecond);
    storeRelease(side.words, side.done, round);
  }
  return 0;
}

const task = workerData as OrderingTask;
const pages = Pages.map(task.fd, task.byteLength);
parentPort?.postMessage('ready');
const work = task.kind === 'device' ? device : otherSide;
parentPort?.postMessage(work(task, pages.buffer));
