import { EventEmitter } from 'node:events';

import { Arena } from './arena.js';
import { Blocking } from './blocking.js';
import type { PortEvents } from './events.js';
import { frameCopies } from './frame-copies.js';
import type { FrameCopy } from './frame-copies.js';
import type { Frame } from './frame.js';
import { REQUIRED, transmitLimits, wantedFeatures } from './offload.js';
import { checkPortOptions, isBackend, slotPayload } from './options.js';
import type { CheckedPortOptions, PortOptions } from './options.js';
import { publishPort } from './observation.js';
import { Recovery } from './recovery.js';
import { ReceivePath } from './receive-path.js';
import type { PortStatistics } from './statistics.js';
import { TransmitPath } from './transmit-path.js';
import type { WriteFrame } from './transmit.js';
import type { Reservation } from './reservations.js';
import type { Backend } from '../backend/backend.js';
import { Tap } from '../backend/tap.js';
import { headerSize, negotiate, vhostPart } from '../dataplane/features.js';
import { QueuePair } from '../dataplane/queue-pair.js';
import type { Fault } from '../dataplane/repair.js';
import { VhostError } from '../errors.js';
import { DriverQueue } from '../ring/driver-queue.js';
import type { NetHeader } from '../ring/net-header.js';
import { VIRTIO_RING_F_EVENT_IDX, has } from '../uapi/virtio.js';
import type { UndoList } from '../undo.js';
import { allOrNothing } from '../undo.js';

/**
 * Driver mode: this process is the virtio driver, the kernel's vhost worker is the device, and a
 * backend such as a tap is the wire. See {@link openPort}.
 */
export class Port extends EventEmitter<PortEvents> {
  readonly #down: UndoList;
  readonly #pair: QueuePair;
  readonly #backend: Backend;
  readonly #features: bigint;
  readonly #receive: ReceivePath;
  readonly #transmit: TransmitPath;
  readonly #recovery: Recovery;
  readonly #blocking: Blocking;
  #closed = false;

  /** @internal See {@link openPort}. */
  static open(options: CheckedPortOptions): Port {
    return allOrNothing((undo) => new Port(options, undo));
  }

  private constructor(options: CheckedPortOptions, undo: UndoList) {
    super();
    this.#down = undo;
    const backend = isBackend(options.backend) ? options.backend : Tap.open(options.backend);
    undo.push(() => {
      backend.close();
    });
    this.#backend = backend;
    const { mtu } = backend.link();
    const arena = Arena.allocate({
      queueSize: options.queueSize,
      slotPayload: slotPayload(options.queueSize, options.offloads, mtu),
    });
    undo.push(() => {
      arena.close();
    });
    this.#pair = QueuePair.open();
    undo.push(() => {
      this.#pair.close();
    });
    this.#features = this.#negotiate(options);
    const makeQueue = (byteOffset: number) =>
      new DriverQueue(arena.ringBuffer, byteOffset, {
        size: options.queueSize,
        eventIdx: has(this.#features, VIRTIO_RING_F_EVENT_IDX),
      });
    const onFault = (fault: Fault) => {
      this.#recovery.report(fault);
    };
    this.#receive = new ReceivePath({
      port: this,
      queue: makeQueue(arena.receive.byteOffset),
      slots: arena.receiveSlots,
      events: this.#pair.receive,
      poison: options.poison,
      pollMicroseconds: options.pollMicroseconds,
      coalesceFrames: options.coalesceFrames,
      onFault,
    });
    this.#transmit = new TransmitPath({
      port: this,
      queue: makeQueue(arena.transmit.byteOffset),
      slots: arena.transmitSlots,
      events: this.#pair.transmit,
      limits: transmitLimits(this.#features, mtu),
      onFault,
      connect: (other) => this.#recovery.borrow(other),
    });
    this.#recovery = this.#recoveryOf(arena, options);
    publishPort(() => ({
      state: 'opened',
      name: backend.name,
      features: this.#features,
      worker: this.#pair.worker,
    }));
    this.#blocking = new Blocking({
      pair: this.#pair,
      receive: this.#receive,
      transmit: this.#transmit,
      recovery: this.#recovery,
      onMainThread: options.blockMainThread,
    });
    this.#recovery.start();
    publishPort(() => ({ state: 'activated', name: backend.name }));
    if (options.signal) this.#obey(options.signal);
  }

  /** The backend's interface, by name. */
  get name(): string {
    return this.#backend.name;
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes of the longest frame that {@link send} takes. */
  get longestFrame(): number {
    return this.#transmit.longest;
  }

  /**
   * Copies a frame into the transmit ring. It goes out with others of this turn of the event loop, or
   * at the next {@link flush}.
   *
   * @param bytes  The frame, from its destination address on, without checksum; 14 bytes to
   * {@link longestFrame}.
   * @param header  What the kernel is to complete; only what was negotiated.
   * @returns False: the ring is full, nothing was taken, and `drain` will come.
   * @throws {RangeError} A frame or header that would be refused, or wedge the worker.
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   */
  send(bytes: Uint8Array, header?: Readonly<NetHeader>): boolean {
    return this.#transmit.send(bytes, header);
  }

  /**
   * The same for several frames.
   *
   * @returns How many were taken, from the first on.
   */
  sendBatch(frames: readonly Uint8Array[]): number {
    return this.#transmit.sendBatch(frames);
  }

  /**
   * Sends a frame that this or another port of this thread received, with what its header says is
   * still unfinished. It is not copied: the device reads it where it lies, and its slots go back to
   * its receive ring when it has. Do not write to it afterwards. Only what this port did not negotiate
   * is finished here, in a copy: a checksum is filled in, a frame with a GSO type cut into complete
   * ones, which are taken all or not at all.
   *
   * @returns False: the ring is full, nothing was taken, and `drain` will come.
   * @throws {RangeError} A frame or header that would be refused, or that can't be finished.
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   */
  forward(frame: Frame): boolean {
    return this.#transmit.forward(frame);
  }

  /**
   * Sends frames of one length that `write` writes in place, one after the other: the cheapest way to
   * send. Their memory holds what an earlier frame left there. In `write` nothing can be sent by this
   * port.
   *
   * @param count  How many.
   * @param length  Bytes of each; 14 to what one slot holds, which is the MTU and more.
   * @returns How many were sent: fewer when the ring is full, and then `drain` will come.
   * @throws What `write` throws; the frames before are sent, this one is not.
   * @throws {VhostError} `ERR_VHOST_CLOSED`, `ERR_VHOST_STATE` (called from `write`).
   */
  sendInPlace(count: number, length: number, write: WriteFrame): number {
    return this.#transmit.sendInPlace(count, length, write);
  }

  /**
   * Takes a slot, for a frame to be written in place.
   *
   * @param length  Bytes of the frame.
   * @returns Undefined when the ring is full.
   */
  reserve(length: number): Reservation | undefined {
    return this.#transmit.reserve(length);
  }

  /** Sends what was written to a reservation. */
  commit(reservation: Reservation, header?: Readonly<NetHeader>): void {
    this.#transmit.commit(reservation, header);
  }

  /**
   * Gives a reservation back unsent.
   *
   * @throws {TypeError} It was committed or cancelled already.
   */
  cancel(reservation: Reservation): void {
    this.#transmit.cancel(reservation);
  }

  /** Lets the worker have every frame sent so far, now. */
  flush(): void {
    this.#transmit.flush();
  }

  /** When the worker has taken every frame sent so far. */
  drained(): Promise<void> {
    return this.#transmit.drained();
  }

  /**
   * For a Worker that wants no event loop: blocks this thread until frames come, and hands them to the
   * `receive` handlers, as one batch, before it returns. Meanwhile the port is looked after as ever;
   * its other events also come within the call.
   *
   * @param timeoutMs  How long at the most; 0 looks once, `Infinity` waits for ever.
   * @returns How many frames there were; 0: the time is over.
   * @throws {VhostError} `ERR_VHOST_STATE`: called on the main thread without the option
   * `blockMainThread`, in a `receive` handler, without one, or while paused; `ERR_VHOST_CLOSED`.
   */
  receiveBlocking(timeoutMs: number): number {
    return this.#blocking.receive(timeoutMs);
  }

  /**
   * The same as {@link send}, but blocks this thread while the ring is full.
   *
   * @returns False: the time is over, nothing was taken.
   * @throws What {@link send} and {@link receiveBlocking} throw.
   */
  sendBlocking(bytes: Uint8Array, timeoutMs: number, header?: Readonly<NetHeader>): boolean {
    return this.#blocking.send(bytes, timeoutMs, header);
  }

  /**
   * The same as {@link drained}, but blocks this thread.
   *
   * @returns False: the time is over.
   * @throws {VhostError} `ERR_VHOST_FRAMES_LOST`: a repair lost some; and what {@link receiveBlocking} throws.
   */
  drainedBlocking(timeoutMs: number): boolean {
    return this.#blocking.drained(timeoutMs);
  }

  /** As of any emitter. Handlers that are added afterwards get what comes, as if none had been removed. */
  override removeAllListeners(...event: [] | [event?: unknown]): this {
    super.removeAllListeners(...event);
    this.#receive.listen();
    return this;
  }

  /**
   * Stops giving frames to handlers and loops; they wait in the ring, and then in the kernel until it
   * is full.
   */
  pause(): void {
    this.#receive.pause();
  }

  /** Goes on after {@link pause}. */
  resume(): void {
    this.#receive.resume();
  }

  /** Lets the open port keep the process alive (the default). */
  ref(): this {
    this.#receive.ref();
    return this;
  }

  /** Lets the process end although the port is open. */
  unref(): this {
    this.#receive.unref();
    return this;
  }

  /**
   * State and counters, read now.
   *
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   */
  statistics(): PortStatistics {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', 'the port is closed');
    return {
      receive: this.#receive.statistics(),
      transmit: this.#transmit.statistics(),
      worker: this.#pair.worker,
      link: this.#backend.link(),
      features: this.#features,
      repairs: this.#recovery.repairs,
    };
  }

  /**
   * Takes the port down: rings off the backend, watchers, worker, tap, eventfds, memory. Every view
   * of its memory has length 0 afterwards. May be called at any time, also in a handler, and twice.
   */
  close(): Promise<void> {
    // What throws in here rejects.
    return new Promise((resolve) => {
      if (!this.#closed) this.#takeDown();
      resolve();
    });
  }

  /** The same as {@link close}: for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Received frames as copies, which stay valid. While the loop is slow, the ring and the kernel buffer;
   * of several loops each gets every frame, and the slowest sets the pace.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<FrameCopy> {
    return frameCopies(this, this.#receive);
  }

  /** A step that fails keeps none of the others from happening. */
  #takeDown(): void {
    this.#closed = true;
    this.#recovery.close();
    this.#receive.close();
    this.#transmit.close();
    try {
      this.#down.unwind();
    } finally {
      this.#transmit.returnLoans();
      publishPort(() => ({ state: 'closed', name: this.name }));
      this.emit('close');
    }
  }

  #negotiate(options: CheckedPortOptions): bigint {
    const negotiated = negotiate({
      vhost: this.#pair.offeredFeatures(),
      backend: this.#backend.features,
      wanted: wantedFeatures(options.offloads),
      required: REQUIRED,
    });
    this.#backend.agree({ headerSize: headerSize(negotiated), features: negotiated });
    return negotiated;
  }

  #recoveryOf(arena: Arena, options: CheckedPortOptions): Recovery {
    return new Recovery({
      pair: this.#pair,
      backend: this.#backend,
      arena,
      features: vhostPart(this.#features, this.#pair.offeredFeatures()),
      receive: this.#receive,
      transmit: this.#transmit,
      workerPollMicroseconds: options.workerPollMicroseconds,
      repair: options.repair,
      onRepair: (report) => {
        publishPort(() => ({ state: 'repaired', name: this.name, report }));
        this.emit('repair', report);
      },
      onError: (error) => {
        publishPort(() => ({ state: 'failed', name: this.name, error }));
        this.emit('error', error);
      },
    });
  }

  #obey(signal: AbortSignal): void {
    const abort = () => void this.close();
    signal.addEventListener('abort', abort, { once: true });
    this.#down.push(() => {
      signal.removeEventListener('abort', abort);
    });
  }
}

/**
 * Opens a port: a backend, a vhost-net descriptor with its worker, two virtqueues between them.
 *
 * @throws {VhostSystemError} The system refused: `code`, `request` and `hint` say what and why.
 * @throws {VhostError} `ERR_VHOST_FEATURE_MISSING`, `ERR_VHOST_HEADER_SIZE`.
 * @throws {TypeError} or `RangeError`, naming the option that does not fit.
 */
export function openPort(options: PortOptions): Promise<Port> {
  // What throws in here rejects.
  return new Promise((resolve) => {
    const checked = checkPortOptions(options);
    checked.signal?.throwIfAborted();
    resolve(Port.open(checked));
  });
}
