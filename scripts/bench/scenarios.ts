import type { Task } from './sides.js';

/** One question that the benchmark answers. */
export interface Scenario {
  readonly name: string;
  readonly unit: string;
  readonly task: Omit<Task, 'tap'>;
  readonly sides: readonly string[];
}

/** The side that everything else is compared with, and that runs twice in every round. */
export const REFERENCE = 'vhost-net';

const TX_SIDES = [
  'vhost-net',
  'vhost-net-inplace',
  'c-ring',
  'c-ring-inplace',
  'c-tap',
  'node-tap',
];

function transmit(length: number): Scenario {
  return {
    name: `tx-${String(length)}`,
    unit: 'frames/s',
    task: { kind: 'tx', length },
    sides: TX_SIDES,
  };
}

export const SCENARIOS: readonly Scenario[] = [transmit(64)];
