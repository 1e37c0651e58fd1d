import { openPort } from 'vhost-net';
import type { PortStatistics } from 'vhost-net';

import { TestNetwork } from '../../test/support/network.js';
import { respond } from '../../test/support/responder.js';

/** What came of the pings. */
export interface PingResult {
  readonly sent: number;
  readonly received: number;
  /** Milliseconds: least, average, greatest. Empty when no reply came. */
  readonly roundTrip: readonly string[];
  readonly port: PortStatistics;
  /** Interfaces of the namespace after the port was closed. */
  readonly interfacesAfter: readonly string[];
}

function count(report: string, pattern: RegExp): number {
  const found = pattern.exec(report)?.[1];
  if (found === undefined) throw new Error(`ping said something else than expected: ${report}`);
  return Number(found);
}

/** The kernel's own ping asks, a port answers. Lost pings are a result here, not an error. */
export async function ping(pings: number, signal: AbortSignal): Promise<PingResult> {
  using network = new TestNetwork({ signal });
  await using port = await openPort({
    backend: { tap: 'vn0', addresses: ['10.9.0.1/24'], netns: network.name },
    signal,
  });
  respond(port);
  const args = ['-c', String(pings), '-i', '0.002', '-q', '-W', '2', '10.9.0.2'];
  // Its exit status only says whether all came; the report says how many.
  const report = await network.run('sh', '-c', 'LC_ALL=C ping "$@" || :', 'ping', ...args);
  signal.throwIfAborted();
  const statistics = port.statistics();
  await port.close();
  return {
    sent: count(report, /(\d+) packets transmitted/),
    received: count(report, /(\d+) (?:packets )?received/),
    roundTrip: /= ([\d.]+)\/([\d.]+)\/([\d.]+)/.exec(report)?.slice(1, 4) ?? [],
    port: statistics,
    interfacesAfter: network.interfaces(),
  };
}
