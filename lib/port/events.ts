import type { ReceiveBatch } from './receive.js';
import type { RepairReport } from './recovery.js';
import type { BackendLink, LinkProperty } from '../backend/backend.js';

/** The events of a port. */
export interface PortEvents {
  /** Frames came; they are borrowed until the handler returns. Without a handler nothing is taken. */
  receive: [batch: ReceiveBatch];
  /** After a `send` that returned false: there is room again, in the port's queue of that number. */
  drain: [queue: number];
  /**
   * The host changed something of the backend's interface; `link` is what came of it. The port goes on
   * as it is: frames for an interface that is down are lost, and {@link Port.longestFrame} stays what
   * it was when the port was opened. It comes in a turn of the event loop of its own, in the order in
   * which the kernel made the changes. That the interface is gone is no `link`, but a `repair`, or an
   * `error`.
   */
  link: [link: BackendLink, changed: readonly LinkProperty[]];
  /** Something had stopped the rings; they run again. What was lost is in the report. */
  repair: [report: RepairReport];
  /** The port is of no more use, and should be closed; or it was, by its signal, and a step of that failed. */
  error: [error: Error];
  /** Everything is taken down. */
  close: [];
}
