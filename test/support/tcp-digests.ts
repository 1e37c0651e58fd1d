import { once } from 'node:events';

import type { TestNetwork } from './network.js';

/** Says at which port it listens, then the digest of all that the first client sent. */
const RECEIVER = `
const hash = require('node:crypto').createHash('sha256');
const server = require('node:net').createServer((socket) => {
  socket.pipe(hash).on('finish', () => console.log(hash.digest('hex')));
  server.close();
});
server.listen(0, () => console.log(server.address().port));
`;

/** Sends random bytes, and says their digest. */
const SENDER = `
const { createHash, randomBytes } = require('node:crypto');
const [address, port, megabytes] = process.argv.slice(1);
const data = randomBytes(Number(megabytes) << 20);
require('node:net').connect(Number(port), address).end(data);
console.log(createHash('sha256').update(data).digest('hex'));
`;

/**
 * Random bytes by TCP from one namespace to another. The kernel does not check what it says itself
 * that it will complete later, so with offloads only the bytes tell whether all came unaltered.
 *
 * @returns The digests of what was sent and of what was received.
 */
export async function tcpDigests(
  from: TestNetwork,
  to: TestNetwork,
  address: string,
  megabytes: number,
): Promise<readonly [sent: string, received: string]> {
  const receiver = to.start(process.execPath, '-e', RECEIVER);
  const closed = once(receiver, 'close');
  try {
    let said = '';
    receiver.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await once(receiver.stdout, 'data');
    const args = [address, said.trim(), String(megabytes)];
    const sent = await from.run(process.execPath, '-e', SENDER, ...args);
    await closed;
    return [sent.trim(), said.trim().split('\n')[1] ?? ''];
  } finally {
    receiver.kill();
  }
}
