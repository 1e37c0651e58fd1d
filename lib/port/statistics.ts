import type { BackendLink } from '../backend/backend.js';
import type { WorkerThread } from '../sys/worker-thread.js';

/** Counters of one ring; they only grow. */
export interface RingCounters {
  /**
   * Receive: frames given to handlers. Transmit: frames taken from the caller; of one that was cut in
   * software, each piece.
   */
  frames: number;
  /** Their bytes, virtio-net headers not counted. */
  bytes: number;
  /** How often something was made visible to the device, or found to be used by it. */
  batches: number;
  /** How often the worker was told that there is something for it. */
  kicks: number;
  /** How often something was made visible to it, and it did not want to be told. */
  kicksSuppressed: number;
  /** How often the worker called; several calls may be one turn of the event loop. */
  calls: number;
}

/** What the receive side counts besides. */
export interface ReceiveStatistics extends RingCounters {
  /** Frames that had come when a repair began, or their queue was taken out of use, and nobody listened for. */
  lost: number;
  /** Frames that the caller holds now, or that go out through a port where they lie. */
  held: number;
}

/** What the transmit side counts besides. */
export interface TransmitStatistics extends RingCounters {
  /** Calls that found the ring full, however many frames they were to send. */
  full: number;
  /** Frames taken from the caller and lost in repairs, or with a queue that was taken out of use. */
  lost: number;
  /** Frames that the worker has not completed yet. */
  inFlight: number;
}

/** Counters of one queue pair of a port. */
export interface QueueStatistics {
  /** The receive ring: the worker fills it, we empty it. */
  readonly receive: Readonly<ReceiveStatistics>;
  /** The transmit ring: we fill it, the worker empties it. */
  readonly transmit: Readonly<TransmitStatistics>;
  /** The kernel thread behind it; undefined when it can't be known which it is. */
  readonly worker: WorkerThread | undefined;
  /** How often something had stopped the rings, and they were started again. */
  readonly repairs: number;
}

/** A port's state and counters at one moment. */
export interface PortStatistics {
  /** The receive rings: workers fill them, we empty them. Those that were taken out of use count. */
  readonly receive: Readonly<ReceiveStatistics>;
  /** The transmit rings: we fill them, workers empty them. Those that were taken out of use count. */
  readonly transmit: Readonly<TransmitStatistics>;
  /** Each queue pair that is in use by itself. */
  readonly queues: readonly QueueStatistics[];
  /** The kernel thread behind the first; undefined when it can't be known which it is. */
  readonly worker: WorkerThread | undefined;
  /** The interface as the host sees it: it receives what the port transmits. */
  readonly link: BackendLink;
  /** How often something had stopped the rings, and they were started again. */
  readonly repairs: number;
  /** The negotiated feature bits. */
  readonly features: bigint;
}

/** All counters at 0. */
export function newRingCounters(): RingCounters {
  return { frames: 0, bytes: 0, batches: 0, kicks: 0, kicksSuppressed: 0, calls: 0 };
}
