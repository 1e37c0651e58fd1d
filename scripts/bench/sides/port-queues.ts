// This package with a queue pair of the tap for each of several Workers, which all transmit.
// Usage: port-queues.js QUEUES LENGTH TAP
import { once } from 'node:events';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { benchFrame } from '../frame.js';
import { ready } from './ready.js';
import { openPort } from '#lib/port/port';

const QUEUE_SIZE = 1024;

/** What a Worker is given. */
interface Share {
  readonly tap: string;
  readonly length: number;
}

async function transmit({ tap, length }: Share): Promise<void> {
  const port = await openPort({ backend: { tap, multiQueue: true }, queueSize: QUEUE_SIZE });
  const frame = benchFrame(length);
  const pump = () => {
    while (port.send(frame));
  };
  port.on('drain', pump);
  parentPort?.postMessage('ready');
  parentPort?.once('message', pump);
}

async function main([queues, length, tap = '']: string[]): Promise<void> {
  const share: Share = { tap, length: Number(length) };
  const workers = Array.from(
    { length: Number(queues) },
    () => new Worker(__filename, { workerData: share }),
  );
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  for (const worker of workers) worker.postMessage('go');
  ready();
}

if (isMainThread) void main(process.argv.slice(2));
else void transmit(workerData as Share);
