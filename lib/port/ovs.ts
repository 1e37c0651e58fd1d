import { isBackend } from './options.js';
import type { CheckedPortOptions, Plug } from './options.js';
import type { Port } from './port.js';
import type { Backend } from '../backend/backend.js';
import { checkOvsOptions, tapOfOvs } from '../backend/ovs-options.js';
import type { OvsTapOptions } from '../backend/ovs-options.js';
import { addOvsPort } from '../backend/ovs.js';
import { Tap } from '../backend/tap.js';

/** Options with an open tap that is a port of a bridge. */
interface PluggedOptions extends CheckedPortOptions {
  readonly backend: Backend;
  readonly plug: Plug;
}

/** Opens a port, in a bridge of Open vSwitch when its options say so; all or nothing. */
export async function openPlugged(
  options: CheckedPortOptions,
  open: (options: CheckedPortOptions) => Port,
): Promise<Port> {
  const { backend, signal } = options;
  if (isBackend(backend) || !('ovs' in backend)) return open(options);
  const plugged = await plugIn(backend, options);
  try {
    signal?.throwIfAborted();
    return open(plugged);
  } catch (error) {
    plugged.backend.close();
    // The first error is the cause; one of the way back is its consequence.
    await plugged.plug.remove().catch(() => undefined);
    throw error;
  }
}

/** A tap that is a port of a bridge. Where that takes complete frames alone, no others are to be sent. */
async function plugIn(
  backend: OvsTapOptions,
  options: CheckedPortOptions,
): Promise<PluggedOptions> {
  const ovs = checkOvsOptions(backend.ovs);
  const tap = Tap.open(tapOfOvs(backend, ovs.mtu), options.queuePairs);
  try {
    const plug = await addOvsPort(tap.name, ovs, backend.up !== false);
    const offloads = plug.completeOnly ? 'none' : options.offloads;
    return { ...options, offloads, backend: tap, plug };
  } catch (error) {
    tap.close();
    throw error;
  }
}
