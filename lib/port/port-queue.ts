import type { EventEmitter } from 'node:events';

import { Arena } from './arena.js';
import { Blocking } from './blocking.js';
import { describeTunnel, describeWith } from './describe.js';
import type { PortEvents } from './events.js';
import type { Frame } from './frame.js';
import { publishPort } from './observation.js';
import { transmitLimits } from './offload.js';
import { Recovery } from './recovery.js';
import { ReceivePath } from './receive-path.js';
import type { Reservation } from './reservations.js';
import type { QueueStatistics } from './statistics.js';
import type { PackedFrames } from './transmit-bulk.js';
import { TransmitPath } from './transmit-path.js';
import type { WriteRun } from './transmit.js';
import type { Backend } from '../backend/backend.js';
import { headerSize, vhostPart } from '../dataplane/features.js';
import type { QueuePair } from '../dataplane/queue-pair.js';
import type { Fault } from '../dataplane/repair.js';
import { DriverQueue } from '../ring/driver-queue.js';
import type { NetHeader } from '../ring/net-header.js';
import type { WorkerThread } from '../sys/worker-thread.js';
import { VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO } from '../uapi/virtio-net.js';
import { VIRTIO_RING_F_EVENT_IDX, has } from '../uapi/virtio.js';
import type { UndoList } from '../undo.js';

/** What all queues of a port are made with. */
export interface CommonQueueOptions {
  readonly port: EventEmitter<PortEvents>;
  readonly backend: Backend;
  /** The negotiated feature bits. */
  readonly features: bigint;
  readonly queueSize: number;
  /** Bytes of frame that one slot is to hold. */
  readonly slotPayload: number;
  readonly mtu: number;
  readonly pollMicroseconds: number;
  readonly coalesceFrames: number;
  readonly workerPollMicroseconds: number;
  readonly blockMainThread: boolean;
  readonly repair: boolean;
  readonly poison: boolean;
}

/** What one of them is made with. */
export interface PortQueueOptions extends CommonQueueOptions {
  readonly index: number;
  readonly pair: QueuePair;
}

/** What is to be done to the header of each received frame. */
function describer({
  backend,
  mtu,
  features,
}: CommonQueueOptions): ((frame: Frame) => void) | undefined {
  if (backend.headerless) return describeWith(mtu);
  return has(features, VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO) ? describeTunnel : undefined;
}

/**
 * One queue pair of a port: a vhost descriptor with its worker, two rings, one queue of the backend.
 * {@link Port.send} and its neighbours are those of the first. Frames of every pair come by the
 * port's event `receive`.
 */
export class PortQueue {
  /** Which of the port's queues it is; the first is 0. */
  readonly index: number;
  /** @internal */
  readonly receivePath: ReceivePath;
  /** @internal */
  readonly transmitPath: TransmitPath;
  /** @internal */
  readonly recovery: Recovery;
  /** @internal */
  readonly blocking: Blocking;

  readonly #pair: QueuePair;
  readonly #arena: Arena;

  /** @internal Nothing runs yet; what was made is in `undo`. */
  constructor(options: PortQueueOptions, undo: UndoList) {
    const { pair, port, backend, features, queueSize, mtu } = options;
    this.index = options.index;
    this.#pair = pair;
    const arena = Arena.allocate({
      queueSize,
      slotPayload: options.slotPayload,
      headerSize: headerSize(features),
    });
    undo.push(() => {
      arena.close();
    });
    undo.push(() => {
      pair.close(); // before the arena
    });
    this.#arena = arena;
    const makeQueue = (byteOffset: number) =>
      new DriverQueue(arena.ringBuffer, byteOffset, {
        size: queueSize,
        eventIdx: has(features, VIRTIO_RING_F_EVENT_IDX),
      });
    const onFault = (fault: Fault) => {
      this.recovery.report(fault);
    };
    this.receivePath = new ReceivePath({
      port,
      queueIndex: options.index,
      queue: makeQueue(arena.receive.byteOffset),
      slots: arena.receiveSlots,
      events: pair.receive,
      poison: options.poison,
      pollMicroseconds: options.pollMicroseconds,
      coalesceFrames: options.coalesceFrames,
      onFault,
      describe: describer(options),
    });
    this.transmitPath = new TransmitPath({
      port,
      queueIndex: options.index,
      queue: makeQueue(arena.transmit.byteOffset),
      slots: arena.transmitSlots,
      events: pair.transmit,
      limits: transmitLimits(features, mtu, backend.strictMtu),
      onFault,
      connect: (other) => this.recovery.borrow(other),
    });
    this.recovery = new Recovery({
      pair,
      backend,
      queueIndex: options.index,
      arena,
      features: vhostPart(features, pair.offeredFeatures(features), backend.headerless),
      receive: this.receivePath,
      transmit: this.transmitPath,
      workerPollMicroseconds: options.workerPollMicroseconds,
      repair: options.repair,
      onRepair: (report) => {
        publishPort(() => ({ state: 'repaired', name: backend.name, report }));
        port.emit('repair', report);
      },
      onError: (error) => {
        publishPort(() => ({ state: 'failed', name: backend.name, error }));
        port.emit('error', error);
      },
    });
    this.blocking = new Blocking({
      pair,
      arena,
      receive: this.receivePath,
      transmit: this.transmitPath,
      recovery: this.recovery,
      onMainThread: options.blockMainThread,
    });
  }

  /** The kernel thread behind it; undefined when it can't be known which it is. */
  get worker(): WorkerThread | undefined {
    return this.#pair.worker;
  }

  /** Whether it was taken out of use, or the port closed. */
  get closed(): boolean {
    return this.#pair.closed;
  }

  /** As {@link Port.send}. */
  send(bytes: Uint8Array, header?: Readonly<NetHeader>): boolean {
    return this.transmitPath.send(bytes, header);
  }

  /** As {@link Port.sendBatch}. */
  sendBatch(frames: readonly Uint8Array[] | PackedFrames): number {
    return this.transmitPath.sendBatch(frames);
  }

  /** As {@link Port.forward}. */
  forward(frame: Frame): boolean {
    return this.transmitPath.forward(frame);
  }

  /** As {@link Port.sendInPlace}. */
  sendInPlace(count: number, length: number, write: WriteRun): number {
    return this.transmitPath.sendInPlace(count, length, write);
  }

  /** As {@link Port.reserve}. */
  reserve(length: number): Reservation | undefined {
    return this.transmitPath.reserve(length);
  }

  /** As {@link Port.commit}; for a reservation of this queue. */
  commit(reservation: Reservation, header?: Readonly<NetHeader>): void {
    this.transmitPath.commit(reservation, header);
  }

  /** As {@link Port.cancel}; for a reservation of this queue. */
  cancel(reservation: Reservation): void {
    this.transmitPath.cancel(reservation);
  }

  /** As {@link Port.flush}. */
  flush(): void {
    this.transmitPath.flush();
  }

  /** As {@link Port.drained}. */
  drained(): Promise<void> {
    return this.transmitPath.drained();
  }

  /** Its counters, read now. */
  statistics(): QueueStatistics {
    return {
      receive: this.receivePath.statistics(),
      transmit: this.transmitPath.statistics(),
      worker: this.worker,
      repairs: this.recovery.repairs,
    };
  }

  /** @internal Asks for what others still send of its memory; whether there is any. */
  hasten(): boolean {
    const { receiveSlots } = this.#arena;
    if (receiveSlots.out > 0) this.#arena.hasten();
    return receiveSlots.out > 0;
  }

  /** @internal With its rings stopped for good: what was to be sent and was not is lost. Its last counters. */
  abandon(): QueueStatistics {
    this.transmitPath.recover(this.#pair.base('transmit'), true);
    return this.statistics();
  }

  /** @internal No handler, no watcher, no repair any more. */
  stop(): void {
    this.recovery.close();
    this.receivePath.close();
    this.transmitPath.close();
  }

  /** @internal The worker ends. */
  closePair(): void {
    this.#pair.close();
  }

  /** @internal Every view of it has length 0 afterwards; other queues' frames go back to them. */
  closeMemory(): void {
    try {
      this.#arena.close();
    } finally {
      this.transmitPath.returnLoans();
    }
  }
}
