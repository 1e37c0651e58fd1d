import { adoptDescriptors } from './adopt.js';
import type { DescriptorOptions } from './adopt.js';
import type { Backend } from './backend.js';
import { Macvtap } from './macvtap.js';
import type { MacvtapOptions } from './macvtap-options.js';
import { Packet } from './packet.js';
import type { PacketOptions } from './packet-options.js';
import { Tap } from './tap.js';
import type { TapOptions } from './tap-options.js';
import { VhostError, misuse } from '../errors.js';

/** What is to stand behind vhost; the first option says of which kind it is. */
export type BackendOptions = TapOptions | MacvtapOptions | PacketOptions | DescriptorOptions;

/** The option that each kind has, and no other. */
const KINDS = ['tap', 'macvtap', 'packet', 'fd'];

/**
 * Makes the backend that options describe.
 *
 * @param queueCount  How many queues it is to have in use.
 * @throws {VhostError} `ERR_VHOST_BACKEND_QUEUES`: it can't have so many.
 * @throws What the `open` of {@link Tap}, {@link Macvtap} or {@link Packet} throws.
 */
export function openBackend(options: BackendOptions, queueCount?: number): Backend {
  if ('tap' in options) return Tap.open(options, queueCount);
  if ('macvtap' in options) return Macvtap.open(options, queueCount);
  if ('fd' in options) return withQueues(adoptDescriptors(options), queueCount);
  if (!('packet' in options)) {
    throw misuse.type('backend', `an object with one of ${KINDS.join(', ')}`, options);
  }
  return withQueues(Packet.open(options), queueCount);
}

/** The backend with so many queues in use; it is closed when it can't have them. */
export function withQueues(backend: Backend, count: number | undefined): Backend {
  if (count === undefined || count === backend.queues.length) return backend;
  try {
    if (!backend.setQueueCount) throw tooFewQueues(backend);
    backend.setQueueCount(count);
    return backend;
  } catch (error) {
    backend.close();
    throw error;
  }
}

/** Why a backend can't be given other queues than it has. */
export function tooFewQueues({ name }: Backend): VhostError {
  return new VhostError(
    'ERR_VHOST_BACKEND_QUEUES',
    `the backend ${name} has one queue, and can't have more`,
    'a tap and a macvtap can have several',
  );
}
