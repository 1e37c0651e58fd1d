// A port in a thread of its own: here it sends while the main thread is blocked altogether.
//
//   sudo node examples/06-worker.mjs
import { once } from 'node:events';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { openPort } from 'vhost-net';

const FRAMES = 10_000;

/** Sends as fast as the kernel takes them, then wakes the main thread. */
async function send(done) {
  const port = await openPort({ backend: { tap: 'vn0', addresses: ['10.9.0.1/24'] } });
  parentPort.postMessage('open');
  const frame = Buffer.alloc(60);
  frame.write('ffffffffffff' + '020000000002' + '88b5', 'hex'); // EtherType for experiments
  for (let sent = 0; sent < FRAMES;) {
    if (port.send(frame)) sent++;
    else await once(port, 'drain');
  }
  await port.drained();
  const { transmit, link, worker } = port.statistics();
  await port.close(); // a thread that is terminated instead takes its ports down as well
  parentPort.postMessage({ sent: transmit.frames, got: link.counters.receivePackets, worker });
  Atomics.store(done, 0, 1);
  Atomics.notify(done, 0);
}

if (isMainThread) {
  const done = new Int32Array(new SharedArrayBuffer(4));
  const thread = new Worker(new URL(import.meta.url), { workerData: done });
  await once(thread, 'message');
  Atomics.wait(done, 0, 0);
  const [{ sent, got, worker }] = await once(thread, 'message');
  console.log(
    `${sent} sent, the kernel got ${got}, its worker was ${worker?.name ?? 'not visible'}`,
  );
} else {
  await send(workerData);
}
