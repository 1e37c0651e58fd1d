import { once } from 'node:events';

import type { TestNetwork } from './network.js';

/** What tcpdump found of the TCP and UDP checksums that it saw. */
export interface Checksums {
  readonly right: number;
  readonly wrong: number;
}

/**
 * Looks at an interface with tcpdump while `body` runs.
 *
 * @param direction  `in`: only what the interface received.
 */
export async function checksumsDuring(
  network: TestNetwork,
  interfaceName: string,
  direction: 'in' | 'inout',
  body: () => Promise<unknown>,
): Promise<Checksums> {
  const options = ['-n', '-vv', '--immediate-mode', '-l', '-s', '0', '-B', '16384'];
  const where = ['-i', interfaceName, '-Q', direction, 'tcp or udp'];
  const tcpdump = network.start('tcpdump', ...options, ...where);
  let output = '';
  tcpdump.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await once(tcpdump.stderr, 'data'); // it says that it listens
  const closed = once(tcpdump, 'close');
  try {
    await body();
  } finally {
    tcpdump.kill('SIGINT');
  }
  await closed;
  const count = (pattern: RegExp) => output.match(pattern)?.length ?? 0;
  return { right: count(/\(correct\)|udp sum ok/g), wrong: count(/incorrect|bad udp cksum/g) };
}
