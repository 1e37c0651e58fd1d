import { isBackend } from './options.js';
import type { CheckedPortOptions } from './options.js';
import type { Port } from './port.js';
import { openOvsTap } from '../backend/ovs-tap.js';

/** Opens a port, in a bridge of Open vSwitch when its options say so; all or nothing. */
export async function openPlugged(
  options: CheckedPortOptions,
  open: (options: CheckedPortOptions) => Port,
): Promise<Port> {
  const { backend, signal } = options;
  if (isBackend(backend) || !('ovs' in backend)) return open(options);
  const { tap, port: plug } = await openOvsTap(backend, options.queuePairs, signal);
  try {
    signal?.throwIfAborted();
    // Where the bridge takes complete frames alone, no others are to be sent.
    const offloads = plug.completeOnly ? 'none' : options.offloads;
    return open({ ...options, offloads, backend: tap, plug });
  } catch (error) {
    tap.discard();
    // The first error is the cause; one of the way back is its consequence.
    await plug.remove().catch(() => undefined);
    throw error;
  }
}
