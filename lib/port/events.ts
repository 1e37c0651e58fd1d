import type { ReceiveBatch } from './receive.js';
import type { RepairReport } from './recovery.js';

/** The events of a port. */
export interface PortEvents {
  /** Frames came; they are borrowed until the handler returns. Without a handler nothing is taken. */
  receive: [batch: ReceiveBatch];
  /** After a `send` that returned false: there is room again. */
  drain: [];
  /** Something had stopped the rings; they run again. What was lost is in the report. */
  repair: [report: RepairReport];
  /** The port is of no more use, and should be closed. */
  error: [error: Error];
  /** Everything is taken down. */
  close: [];
}
