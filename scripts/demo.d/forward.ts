import { once } from 'node:events';

import { openPort } from 'vhost-net';
import type { Port, PortStatistics } from 'vhost-net';

import { Forwarder } from './forwarder.js';
import { TestNetwork } from '../../test/support/network.js';

/** What came of the TCP stream. */
export interface ForwardResult {
  /** As `iperf3`'s receiver measured it. */
  readonly gbps: number;
  readonly seconds: number;
  readonly bytes: number;
  readonly retransmits: number;
  /** How often a full ring made frames wait. */
  readonly waits: number;
  readonly left: PortStatistics;
  readonly right: PortStatistics;
  /** Interfaces of both namespaces after the ports were closed. */
  readonly interfacesAfter: readonly string[];
}

/** What of `iperf3 --json` is looked at. */
interface Iperf {
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

/** TCP from one namespace to the other. */
async function stream(from: TestNetwork, to: TestNetwork, seconds: number): Promise<Iperf['end']> {
  const server = await serve(to);
  try {
    const args = ['--client', '10.9.1.2', '--time', String(seconds), '--json'];
    const report = JSON.parse(await from.run('iperf3', ...args)) as Iperf;
    if (server.exitCode === null) await once(server, 'exit');
    return report.end;
  } finally {
    server.kill();
  }
}

function open(network: TestNetwork, address: string, signal: AbortSignal): Promise<Port> {
  return openPort({
    backend: { tap: 'vn0', addresses: [address], netns: network.name },
    offloads: 'auto',
    signal,
  });
}

/** `iperf3` talks from one namespace to another; the only way between them is this process. */
export async function forward(seconds: number, signal: AbortSignal): Promise<ForwardResult> {
  using left = new TestNetwork({ signal });
  using right = new TestNetwork({ signal });
  await using a = await open(left, '10.9.1.1/24', signal);
  await using b = await open(right, '10.9.1.2/24', signal);
  const ways = [new Forwarder(a, b), new Forwarder(b, a)];
  const { sum_sent: sent, sum_received: received } = await stream(left, right, seconds);
  signal.throwIfAborted();
  const statistics = { left: a.statistics(), right: b.statistics() };
  await a.close();
  await b.close();
  return {
    gbps: received.bits_per_second / 1e9,
    seconds: received.seconds,
    bytes: received.bytes,
    retransmits: sent.retransmits,
    waits: ways.reduce((sum, { waits }) => sum + waits, 0),
    ...statistics,
    interfacesAfter: [...left.interfaces(), ...right.interfaces()],
  };
}
