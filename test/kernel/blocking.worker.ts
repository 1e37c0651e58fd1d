// A Worker that answers frames without an event loop: its port is looked after in receiveBlocking() alone.
import { parentPort, workerData } from 'node:worker_threads';

import { openPort } from '#lib/port/port';

async function main(): Promise<void> {
  const [netns, frames] = workerData as [string, number];
  const port = await openPort({ backend: { tap: 'worker', netns }, queueSize: 64 });
  let answered = 0;
  port.on('receive', (batch) => {
    for (const { bytes } of batch) if (port.sendBlocking(bytes, Infinity)) answered++;
  });
  parentPort?.postMessage('open');
  while (answered < frames) port.receiveBlocking(Infinity);
  port.drainedBlocking(Infinity);
  const { transmit } = port.statistics();
  await port.close();
  parentPort?.postMessage(transmit.frames);
}

void main();
