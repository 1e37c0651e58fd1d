import { checkOvsOptions, tapOfOvs } from './ovs-options.js';
import type { OvsTapOptions } from './ovs-options.js';
import { addOvsPort } from './ovs.js';
import type { OvsPort } from './ovs.js';
import { Tap } from './tap.js';

/** An open tap that is a port of a bridge. The tap is closed first, then the port removed. */
export interface OvsTap {
  readonly tap: Tap;
  readonly port: OvsPort;
}

/**
 * Opens a tap, and makes it a port of the bridge that its options name; all or nothing.
 *
 * @param queueCount  How many queues it is to have in use.
 * @throws What {@link Tap.open} and {@link OvsPort.add} throw.
 */
export async function openOvsTap(options: OvsTapOptions, queueCount?: number): Promise<OvsTap> {
  const ovs = checkOvsOptions(options.ovs);
  const tap = Tap.open(tapOfOvs(options, ovs.mtu), queueCount);
  try {
    return { tap, port: await addOvsPort(tap.name, ovs, options.up !== false) };
  } catch (error) {
    tap.discard();
    throw error;
  }
}
