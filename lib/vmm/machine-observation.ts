import type { MachineEnd } from './machine-end.js';
import { observable } from '../observe.js';

/** A change of a machine's state, on the channel `vhost-net:machine`. */
export interface MachineMessage {
  /**
   * - `booted`: its first vCPU is about to begin.
   * - `reboot`: it was switched off and on again.
   * - `fault`: a card could not do what the guest asked.
   * - `ended`: everything is down.
   */
  readonly state: 'booted' | 'reboot' | 'fault' | 'ended';
  /** Of `booted`: the interfaces behind its cards. */
  readonly cards?: readonly string[];
  /** Of `fault`. */
  readonly error?: Error;
  /** Of `ended`. */
  readonly end?: MachineEnd;
}

const machines = observable('vhost-net:machine', print);

/** Tells whoever watches; `message` is only made when there is somebody. */
export function publishMachine(message: () => MachineMessage): void {
  if (machines.hasSubscribers) machines.publish(message());
}

function print({ state, cards, error, end }: MachineMessage): string {
  const details = [cards?.join(' '), error?.message, end?.reason, end?.error?.message];
  return [`machine: ${state}`, ...details.filter(Boolean)].join(', ');
}
