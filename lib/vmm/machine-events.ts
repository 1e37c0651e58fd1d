import type { GuestFault } from './guest-repair.js';
import type { MachineEnd } from './machine-end.js';

/** The events of a machine. */
export interface MachineEvents {
  /** The guest wrote to its console. */
  output: [bytes: Buffer];
  /**
   * A network card was given up by its worker, or lost its backend; the guest was told to reset it. At the
   * most ten a second of each card; the rest is counted (`statistics().untold`).
   */
  fault: [fault: GuestFault, card: string];
  /** The guest begins anew, by its own wish or `Machine.reboot`. */
  reboot: [];
  /** Everything is taken down. */
  end: [end: MachineEnd];
}
