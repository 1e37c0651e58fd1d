import type { RepairReport } from './recovery.js';
import { observable } from '../observe.js';
import type { WorkerThread } from '../sys/worker-thread.js';
import { featureBits } from '../uapi/features.js';

/**
 * What became of a port.
 *
 * - `opened`: backend and vhost descriptor are there, and agree on features.
 * - `activated`: the worker has the rings.
 * - `repaired`: something had stopped the rings, and the worker has them again.
 * - `failed`: the port is of no more use.
 * - `closed`: everything is down.
 */
export type PortState = 'opened' | 'activated' | 'repaired' | 'failed' | 'closed';

/** A change of a port's state, on the channel `vhost-net:port`. */
export interface PortMessage {
  /** What it is now. */
  readonly state: PortState;
  /** The port's, which is its interface's. */
  readonly name: string;
  /** Of `opened`: the negotiated feature bits. */
  readonly features?: bigint;
  /** Of `opened`: the kernel thread behind the port, unless it can't be known which it is. */
  readonly worker?: WorkerThread | undefined;
  /** Of `repaired`: what had stopped the rings, and what was lost. */
  readonly report?: RepairReport;
  /** Of `failed`: why. */
  readonly error?: Error;
}

const ports = observable('vhost-net:port', print);

/** Tells whoever watches; `message` is only made when there is somebody. */
export function publishPort(message: () => PortMessage): void {
  if (ports.hasSubscribers) ports.publish(message());
}

function print(message: PortMessage): string {
  return [`port ${message.name}: ${message.state}`, ...details(message)].join(', ');
}

function details({ features, worker, report, error }: PortMessage): string[] {
  if (features !== undefined) {
    const names = featureBits(features).map(({ name }) => name);
    const who = worker ? `${worker.name}, tid ${String(worker.tid)}` : 'unknown';
    return [`worker ${who}`, `features [${names.join('|')}]`];
  }
  if (report) {
    const { cause, ring, unsent, unknown } = report;
    return [
      `${ring} had stopped (${cause})`,
      `${String(unsent)} unsent, ${String(unknown)} unknown`,
    ];
  }
  return error ? [error.message] : [];
}
