import { checkOvsOptions, tapOfOvs } from './ovs-options.js';
import type { OvsTapOptions } from './ovs-options.js';
import { runOvs } from './ovs-tools.js';
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
 * @param signal  Aborting ends the wait for Open vSwitch.
 * @throws What {@link Tap.open} and {@link OvsPort.add} throw; the signal's reason.
 */
export async function openOvsTap(
  options: OvsTapOptions,
  queueCount?: number,
  signal?: AbortSignal,
): Promise<OvsTap> {
  const ovs = checkOvsOptions(options.ovs);
  const tap = Tap.open(tapOfOvs(options, ovs.mtu), queueCount);
  try {
    const linkUp = options.up !== false;
    return { tap, port: await addOvsPort(tap.name, ovs, linkUp, runOvs, signal) };
  } catch (error) {
    tap.discard();
    throw error;
  }
}
