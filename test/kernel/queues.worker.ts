// A Worker with one queue pair of a tap that others have queues of too: answers every frame to where it
// came from, and says how many there were when it is asked.
import { parentPort, workerData } from 'node:worker_threads';

import { openPort } from '#lib/port/port';

async function main(): Promise<void> {
  const netns = workerData as string;
  const port = await openPort({ backend: { tap: 'vn0', netns, multiQueue: true } });
  let answered = 0;
  port.on('receive', (batch) => {
    for (const { bytes } of batch) {
      if (bytes[0] !== 2) continue; // only what is for us
      const answer = bytes.slice();
      answer.set(bytes.subarray(6, 12), 0);
      answer.set(bytes.subarray(0, 6), 6);
      if (port.send(answer)) answered++;
    }
  });
  parentPort?.postMessage('open');
  parentPort?.once('message', () => {
    const { link, worker } = port.statistics();
    void port.close().then(() => {
      parentPort?.postMessage([answered, worker?.tid, link.index]);
    });
  });
}

void main();
