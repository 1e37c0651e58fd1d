/**
 * Why a machine has ended.
 *
 * - `stopped`: `Machine.stop` was called.
 * - `exit`: the guest wrote its status to port 0xf4, or to address 0xfeb00000.
 * - `reset`: the guest reset the machine.
 * - `poweroff`: the guest switched it off.
 * - `failed`: a triple fault of the guest, or KVM gave up, or a fault of ours; `error` says more.
 */
export type MachineEndReason = 'stopped' | 'exit' | 'reset' | 'poweroff' | 'failed';

/** How a machine has ended. */
export interface MachineEnd {
  readonly reason: MachineEndReason;
  /** What the guest wrote; else 0, and for `failed` 1. */
  readonly status: number;
  readonly error?: Error;
}

/** The end of a machine by a fault. */
export function failed(error: unknown): MachineEnd {
  return { reason: 'failed', status: 1, error: error as Error };
}
