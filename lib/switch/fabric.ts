import type { PortEvents } from '../port/events.js';
import type { Frame } from '../port/frame.js';

/** What sends for a port: one of its queue pairs. */
export interface FabricQueue {
  /** See `Port.forward`. */
  forward(frame: Frame): boolean;
}

/** What frames are forwarded between: a `Port`, or what looks like one. */
export interface FabricPort {
  /** Whether it is of no more use. */
  readonly closed: boolean;
  /** Bytes of the longest frame that it takes. */
  readonly longestFrame: number;
  /** At least one. */
  readonly queues: readonly FabricQueue[];
  /** Stops giving frames. */
  pause(): void;
  /** Goes on after {@link pause}. */
  resume(): void;
  /** `receive`, `drain` and `close`. */
  on<Name extends 'receive' | 'drain' | 'close'>(
    name: Name,
    listener: (...args: PortEvents[Name]) => void,
  ): unknown;
  /** The same. */
  off<Name extends 'receive' | 'drain' | 'close'>(
    name: Name,
    listener: (...args: PortEvents[Name]) => void,
  ): unknown;
}

/** What became of the frames that one port received, or was to send. They only grow. */
export interface FabricCounters {
  /** Frames received that were sent to every other port, because nobody knows where the receiver is. */
  flooded: number;
  /** Frames received that no other port was to get. */
  filtered: number;
  /** Frames that this port was to send while its ring was full, or after it was closed. */
  dropped: number;
  /** Frames that this port was to send and can't: too long, or with a header that can't be finished. */
  refused: number;
}

/** All counters at 0. */
export function newFabricCounters(): FabricCounters {
  return { flooded: 0, filtered: 0, dropped: 0, refused: 0 };
}

/**
 * Hands a frame to a port.
 *
 * @param queue  By which queue it came: it goes out by that of the same number, so that a flow keeps its order
 * and each worker its own.
 * @returns False: the ring is full. What can't be sent at all, or is for a port that was closed, is counted,
 * and done with.
 */
export function pass(
  frame: Frame,
  queue: number,
  to: FabricPort,
  counters: FabricCounters,
): boolean {
  if (to.closed) {
    counters.dropped++;
    return true;
  }
  if (frame.length <= to.longestFrame) {
    try {
      return to.queues[queue % to.queues.length]?.forward(frame) ?? true;
    } catch (error) {
      // What one sender wrote must not end the traffic of all.
      if (!(error instanceof RangeError)) throw error;
    }
  }
  counters.refused++;
  return true;
}
