import { check } from './check.js';
import type { Check } from './check.js';
import { machineChecks } from './machine.js';
import { kernelRelease, probeTap } from './tap.js';
import type { TapCapabilities } from './tap.js';
import { findTunnels } from './tunnels.js';
import { probeVhost } from './vhost.js';
import type { VhostCapabilities } from './vhost.js';

/** What this process can do on this machine, and why not. */
export interface Capabilities {
  /** Whether a port can be opened: all that is required is there. */
  readonly driverMode: boolean;
  /** The running kernel. */
  readonly kernel: string;
  /** Of Node: version and processor. */
  readonly node: string;
  /** Everything that was looked at, what is required first. */
  readonly checks: readonly Check[];
  /** Undefined when the device could not be opened. */
  readonly vhost: VhostCapabilities | undefined;
  /** Undefined when the device could not be opened. */
  readonly tap: TapCapabilities | undefined;
}

/**
 * Looks what there is, by trying it: opens both devices, has a worker made and ended, makes a tap
 * `vnprobe0` in this network namespace and lets it go again, or, without the right to that, opens one
 * that is there and up for a moment. Nothing stays.
 */
export function capabilities(): Capabilities {
  const vhost = probeVhost();
  const tap = probeTap();
  const notTried = { ok: false, detail: 'not tried: the device could not be opened' };
  const checks = [
    check('/dev/vhost-net', true, vhost.node),
    check('worker', true, vhost.worker ?? notTried),
    check('features', true, vhost.features ?? notTried),
    check('/dev/net/tun', true, tap.node),
    check('tap', true, tap.tap ?? notTried),
    check('UDP tunnels', false, findTunnels(vhost.capabilities, tap.capabilities)),
    ...machineChecks(),
  ];
  return {
    driverMode: checks.every(({ required, ok }) => ok || !required),
    kernel: kernelRelease(),
    node: `${process.version} ${process.arch}`,
    checks,
    vhost: vhost.capabilities,
    tap: tap.capabilities,
  };
}
