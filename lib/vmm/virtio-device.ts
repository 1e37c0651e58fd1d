import type { EventFd } from '../sys/eventfd.js';

/** Where a driver laid a virtqueue, as it wrote it: nothing of it is checked. */
export interface DriverQueuePlace {
  readonly index: number;
  /** A power of 2, at most the device's. */
  readonly size: number;
  /** Guest addresses; no safe integers where a driver wrote such. */
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  /** What to signal for used buffers; undefined: the driver wants no interrupt. */
  readonly call: EventFd | undefined;
}

/** What a device tells its transport. */
export interface VirtioTransport {
  /** What the driver can read of the device's configuration has changed. */
  configChanged(): void;
  /** Only a reset helps. */
  needsReset(): void;
}

/**
 * A virtio device behind a transport. What a driver does reaches it in the order of the specification:
 * features are agreed on, then queues are started, then anything goes, until a stop.
 */
export interface VirtioDevice {
  /** Virtio 1.2 §5 "Device Types". */
  readonly type: number;
  /** PCI's base class, subclass and programming interface. */
  readonly classCode: number;
  /** Feature bits offered, below 64. */
  readonly features: bigint;
  /** Of each queue, the most descriptors that it may have. */
  readonly queueSizes: readonly number[];
  /** Bytes of the device's configuration. */
  readonly configBytes: number;
  /** Tells the device whose it is, once. */
  attach(transport: VirtioTransport): void;
  /** @param size  1, 2 or 4; within the configuration, also unaligned. */
  readConfig(offset: number, size: number): number;
  writeConfig(offset: number, size: number, value: number): void;
  /** Whether the device works with this part of what it offers. */
  accepts(features: bigint): boolean;
  /**
   * `DRIVER_OK`. When it returned, the queues given are served.
   *
   * @throws when they can't be: then nothing runs.
   */
  start(features: bigint, queues: readonly DriverQueuePlace[]): void;
  /** When it returned, nothing of the driver's memory is touched any more. Also when nothing runs. */
  stop(): void;
  /** One more queue while it runs, or one again that was stopped. @throws when it can't be served. */
  startQueue(queue: DriverQueuePlace): void;
  /** As {@link stop}, for one queue. */
  stopQueue(index: number): void;
  /** What to signal for used buffers of a queue from now on. */
  setCall(index: number, event: EventFd | undefined): void;
  /** What a driver's notification signals inside the kernel; undefined: {@link notify} is to be called. */
  doorbell(index: number): EventFd | undefined;
  /** A notification that came to user space. */
  notify(index: number): void;
}
