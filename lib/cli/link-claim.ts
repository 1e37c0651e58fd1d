import { once } from 'node:events';
import net from 'node:net';

import type { PortOptions } from '../index.js';

/**
 * Keeps a link to this process while it lives, where its options are a macvtap's: of two commands with
 * the same one, the second would take the first one's for one that a killed process left. The kernel
 * lets go of an abstract socket with the process; other network namespaces do not see it.
 *
 * @throws {Error} Another process has the link.
 */
export async function claimLink(backend: PortOptions['backend']): Promise<void> {
  if (!('macvtap' in backend)) return;
  const { link = '', netns = '' } = backend;
  const holder = net.createServer().unref();
  holder.listen(`\0vhost-net forward ${link}@${netns}`);
  try {
    await once(holder, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new Error(`another vhost-net forward has ${link}`, { cause: error });
  }
}
