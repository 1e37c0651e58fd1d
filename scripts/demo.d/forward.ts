import { openPort } from 'vhost-net';
import type { Port, PortStatistics } from 'vhost-net';

import { Forwarder } from './forwarder.js';
import { iperf } from '../../test/support/iperf.js';
import type { IperfResult } from '../../test/support/iperf.js';
import { TestNetwork } from '../../test/support/network.js';

/** What came of the TCP stream. */
export interface ForwardResult {
  readonly tcp: IperfResult;
  /** How often a full ring made frames wait. */
  readonly waits: number;
  readonly left: PortStatistics;
  readonly right: PortStatistics;
  /** Interfaces of both namespaces after the ports were closed. */
  readonly interfacesAfter: readonly string[];
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
  const tcp = await iperf(left, right, '10.9.1.2', '--time', String(seconds));
  signal.throwIfAborted();
  const statistics = { left: a.statistics(), right: b.statistics() };
  await a.close();
  await b.close();
  return {
    tcp,
    waits: ways.reduce((sum, { waits }) => sum + waits, 0),
    ...statistics,
    interfacesAfter: [...left.interfaces(), ...right.interfaces()],
  };
}
