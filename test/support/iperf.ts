import { once } from 'node:events';

import type { TestNetwork } from './network.js';

/** What the receiver of a TCP stream measured. */
export interface IperfResult {
  readonly bytes: number;
  readonly seconds: number;
  readonly bitsPerSecond: number;
  /** Segments that the sender had to send again. */
  readonly retransmits: number;
}

/** What of `iperf3 --json` is looked at. */
interface Report {
  end: {
    sum_sent: { retransmits: number };
    sum_received: { bytes: number; seconds: number; bits_per_second: number };
  };
}

/** Starts the receiving end, which serves one client, and waits until it listens. */
async function serve(network: TestNetwork): Promise<ReturnType<TestNetwork['start']>> {
  const server = network.start('iperf3', '--server', '--one-off', '--forceflush');
  await new Promise<void>((resolve, reject) => {
    server.stdout.on('data', (chunk: Buffer) => {
      if (chunk.includes('listening')) resolve();
    });
    server.on('error', reject);
    server.on('close', () => {
      reject(new Error('iperf3 --server ended before it listened'));
    });
  });
  return server;
}

/**
 * TCP from one namespace to another.
 *
 * @param address  An address of the receiving namespace.
 * @param amount  Options that say how much, such as `--time`, `4`.
 */
export async function iperf(
  from: TestNetwork,
  to: TestNetwork,
  address: string,
  ...amount: string[]
): Promise<IperfResult> {
  const server = await serve(to);
  try {
    const output = await from.run('iperf3', '--client', address, ...amount, '--json');
    if (server.exitCode === null) await once(server, 'exit');
    const { sum_sent, sum_received } = (JSON.parse(output) as Report).end;
    const { bytes, seconds, bits_per_second } = sum_received;
    return { bytes, seconds, bitsPerSecond: bits_per_second, retransmits: sum_sent.retransmits };
  } finally {
    server.kill();
  }
}
