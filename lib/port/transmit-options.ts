import type { EventEmitter } from 'node:events';

import type { Arena, SlotArea } from './arena.js';
import type { PortEvents } from './events.js';
import type { TransmitLimits } from './frame-limits.js';
import type { VringEvents } from '../dataplane/queue-pair.js';
import type { Fault } from '../dataplane/repair.js';
import type { DriverQueue } from '../ring/driver-queue.js';

/** What a transmit path works with. */
export interface TransmitPathOptions {
  readonly port: EventEmitter<PortEvents>;
  readonly queueIndex?: number;
  readonly queue: DriverQueue;
  readonly slots: SlotArea;
  readonly events: VringEvents;
  readonly limits: TransmitLimits;
  readonly onFault: (fault: Fault) => void;
  /** Makes another port's memory known to the device; false when it can't be. */
  readonly connect: (arena: Arena) => boolean;
}
