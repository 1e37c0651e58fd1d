/** What `npm run demo` shows; `scripts/demo` runs it where there is a vhost-net. */
import os from 'node:os';
import { parseArgs } from 'node:util';

import type { VhostSystemError } from 'vhost-net';

import { forward } from './forward.js';
import type { ForwardResult } from './forward.js';
import { ping } from './ping.js';
import type { PingResult } from './ping.js';
import { describeForward, describePing, drops, gone } from './report.js';

function parse(): { pings: number; seconds: number } {
  const { values } = parseArgs({
    options: {
      pings: { type: 'string', default: '1000' },
      seconds: { type: 'string', default: '4' },
    },
  });
  const [pings, seconds] = [Number(values.pings), Number(values.seconds)];
  if (!(Number.isInteger(pings) && pings > 0 && Number.isInteger(seconds) && seconds > 0)) {
    throw new RangeError('--pings and --seconds take a whole number above 0');
  }
  return { pings, seconds };
}

/** Everything that should have been otherwise. */
function faults(pings: number, one: PingResult, two: ForwardResult): string[] {
  const ports = [one.port, two.left, two.right];
  const checks: readonly (readonly [good: boolean, fault: string])[] = [
    [one.sent === pings && one.received === pings, 'pings were lost'],
    [two.tcp.bitsPerSecond > 0, 'no TCP came through'],
    [two.left.receive.bytes >= two.tcp.bytes, 'TCP went another way than through the ports'],
    [two.left.receive.frames === two.right.transmit.frames, 'frames to the right were lost'],
    [two.right.receive.frames === two.left.transmit.frames, 'frames to the left were lost'],
    [ports.every((port) => drops(port) === 0), 'frames were dropped'],
    [ports.every(({ worker }) => gone(worker)), 'a worker was left behind'],
    [
      [...one.interfacesAfter, ...two.interfacesAfter].every((name) => name === 'lo'),
      'a tap was left behind',
    ],
  ];
  return checks.filter(([good]) => !good).map(([, fault]) => fault);
}

async function main(signal: AbortSignal): Promise<void> {
  const { pings, seconds } = parse();
  const kernel = os.release();
  console.log(`vhost-net on Linux ${kernel}, Node ${process.version}\n`);
  const one = await ping(pings, signal);
  console.log(`${describePing(one)}\n`);
  const two = await forward(seconds, signal);
  console.log(`${describeForward(two)}\n`);
  const wrong = faults(pings, one, two);
  console.log(
    wrong.length === 0
      ? 'All went well, and nothing is left behind.'
      : `Failed: ${wrong.join(', ')}.`,
  );
  const { worker } = one.port;
  console.log(
    JSON.stringify({
      ping: { sent: one.sent, received: one.received },
      forward: { gbps: Number((two.tcp.bitsPerSecond / 1e9).toFixed(3)) },
      worker: worker ? { name: worker.name, tid: worker.tid } : null,
      kernel,
    }),
  );
  process.exitCode = wrong.length === 0 ? 0 : 1;
}

const abort = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(name, () => {
    process.exitCode = 128 + os.constants.signals[name];
    abort.abort();
  });
}
main(abort.signal).catch((error: unknown) => {
  if (abort.signal.aborted) return; // everything is taken down, and the exit status says why
  const { message, hint } = error as VhostSystemError;
  console.error(`demo: ${message}${hint === undefined ? '' : `\n${hint}`}`);
  process.exitCode = 1;
});
