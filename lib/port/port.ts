import { EventEmitter } from 'node:events';

import type { Blocking } from './blocking.js';
import type { PortEvents } from './events.js';
import { frameCopies } from './frame-copies.js';
import type { FrameCopy } from './frame-copies.js';
import type { Frame } from './frame.js';
import { REQUIRED, wantedFeatures } from './offload.js';
import type { Offloads } from './offload.js';
import {
  checkPortOptions,
  checkQueuePairs,
  discardBackend,
  openBackendOf,
  resolveOffloads,
  slotPayload,
} from './options.js';
import type { CheckedPortOptions, Plug, PortOptions } from './options.js';
import { openPlugged } from './ovs.js';
import { publishPort } from './observation.js';
import type { CommonQueueOptions, PortQueue } from './port-queue.js';
import { QueueSet } from './queue-set.js';
import type { PortStatistics } from './statistics.js';
import type { PackedFrames } from './transmit-bulk.js';
import type { TransmitPath } from './transmit-path.js';
import type { WriteRun } from './transmit.js';
import type { Reservation } from './reservations.js';
import type { Backend, LinkListener } from '../backend/backend.js';
import { headerSize, negotiate } from '../dataplane/features.js';
import { QueuePair } from '../dataplane/queue-pair.js';
import { VhostError } from '../errors.js';
import type { NetHeader } from '../ring/net-header.js';
import type { UndoList } from '../undo.js';
import { allOrNothing, allSettled } from '../undo.js';

/**
 * Driver mode: this process is the virtio driver, the kernel's vhost worker is the device, and a
 * backend such as a tap is the wire. See {@link openPort}.
 */
export class Port extends EventEmitter<PortEvents> {
  readonly #down: UndoList;
  readonly #backend: Backend;
  readonly #features: bigint;
  readonly #queues: QueueSet;
  /** That of the first queue. */
  readonly #transmit: TransmitPath;
  readonly #blocking: Blocking;
  readonly #plug: Plug | undefined;
  #unplugged: Promise<void> | undefined;
  #closed = false;

  /** @internal See {@link openPort}. */
  static open(options: CheckedPortOptions): Port {
    return allOrNothing((undo) => new Port(options, undo));
  }

  private constructor(options: CheckedPortOptions, undo: UndoList) {
    super();
    this.#down = undo;
    this.#plug = options.plug;
    this.#backend = openBackendOf(options);
    undo.push(() => {
      if (this.#closed) this.#backend.close();
      else discardBackend(this.#backend, options);
    });
    const firstPair = QueuePair.open();
    undo.push(() => {
      firstPair.close();
    });
    const offloads = resolveOffloads(options.offloads, this.#backend);
    this.#features = this.#negotiate(firstPair, offloads);
    this.#queues = new QueueSet(firstPair, this.#common(options, offloads));
    undo.push(() => {
      this.#queues.close();
    });
    const { first } = this.#queues;
    this.#transmit = first.transmitPath;
    this.#blocking = first.blocking;
    this.#backend.watch?.(this.#linkListener());
    publishPort(() => ({ state: 'activated', name: this.name }));
    if (options.signal) this.#obey(options.signal);
  }

  /** The backend's interface, by the name that it had when the port was opened. */
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
   * Its queue pairs, from the first on; each is of use until it is taken out of use by
   * {@link setQueuePairs}. Without a queue being named, the first one sends.
   */
  get queues(): readonly PortQueue[] {
    return this.#queues.all;
  }

  /**
   * Changes how many queue pairs there are, while the port runs. Those that are added listen as the
   * others do. Those that leave are the last, and not in {@link queues} from the start: what they were
   * given to send is sent, what had come by them is handed to the handlers, then they are closed. What
   * they are given to send meanwhile may be lost, and what nobody listens for is; both count as `lost`.
   * What waits in the kernel for one that leaves is handed over where the interface can be kept from it
   * (a tap of nobody else's, the right to load an eBPF program, none of the caller's) and the port listens
   * and is not paused; else it is lost, in no counter.
   *
   * @param count  1 to 256.
   * @throws {VhostError} `ERR_VHOST_BACKEND_QUEUES`: the backend can't have so many;
   * `ERR_VHOST_CLOSED`; `ERR_VHOST_BACKEND_LOST`: the interface was moved to another namespace.
   * @throws {VhostSystemError} As for {@link openPort}; it is as before then.
   */
  setQueuePairs(count: number): Promise<void> {
    // What throws in here rejects.
    return new Promise((resolve) => {
      checkQueuePairs(count);
      resolve(this.#queues.resize(count));
    });
  }

  /**
   * Copies a frame into the transmit ring. It goes out with others of this turn, or at {@link flush}.
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
   * The same for several frames. Packed ones cost less than half.
   *
   * @returns How many were taken, from the first on.
   */
  sendBatch(frames: readonly Uint8Array[] | PackedFrames): number {
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
   * Sends frames of one length that `write` writes in place, up to 1,024 at a time.
   * Their memory holds what earlier frames left there. In `write` nothing can be sent by this port.
   *
   * @param count  How many.
   * @param length  Bytes of each; 14 to what one slot holds, and no longer than a plain frame may be.
   * @param write  Called for each run of frames that lie together.
   * @returns How many were sent: fewer when the ring is full, or nearly, and then `drain` will come.
   * @throws What `write` throws; the runs before are sent, this one is not.
   * @throws {RangeError} or `TypeError`, naming what does not fit.
   * @throws {VhostError} `ERR_VHOST_CLOSED`, `ERR_VHOST_STATE` (called from `write`).
   */
  sendInPlace(count: number, length: number, write: WriteRun): number {
    return this.#transmit.sendInPlace(count, length, write);
  }

  /**
   * Takes memory of the ring, for a frame to be written in place.
   *
   * @param length  Bytes of the frame; to {@link longestFrame}, in one piece also when it takes several slots.
   * @returns Undefined when the ring is full.
   */
  reserve(length: number): Reservation | undefined {
    return this.#transmit.reserve(length);
  }

  /** Sends what was written to a reservation. */
  commit(reservation: Reservation, header?: Readonly<NetHeader>): void {
    this.#transmit.commit(reservation, header);
  }

  /** Gives a reservation back unsent. @throws {TypeError} It was committed or cancelled already. */
  cancel(reservation: Reservation): void {
    this.#transmit.cancel(reservation);
  }

  /** Lets the worker have every frame sent so far, now. */
  flush(): void {
    this.#transmit.flush();
  }

  /** When the worker has taken every frame sent so far. Rejects within `sendInPlace`, and as `close()` and repairs do. */
  drained(): Promise<void> {
    return this.#transmit.drained();
  }

  /**
   * For a Worker that wants no event loop: blocks this thread until frames come, and hands them to the
   * `receive` handlers, as one batch, before it returns. Meanwhile the port is looked after as ever:
   * `repair` and `error` come within the call; `link` and `drain` need an event loop. With several
   * queue pairs it is the first that is waited for: open a port with one for each Worker.
   *
   * @param timeoutMs  How long at the most; 0 looks once, `Infinity` waits for ever.
   * @returns How many frames there were; 0: the time is over.
   * @throws {VhostError} `ERR_VHOST_STATE`: called on the main thread without the option
   * `blockMainThread`, in a `receive` handler, without one, or while paused; `ERR_VHOST_CLOSED`; and
   * the error of a ring that was given up.
   */
  receiveBlocking(timeoutMs: number): number {
    return this.#blocking.receive(timeoutMs);
  }

  /**
   * The same as {@link send}, but blocks this thread while the ring is full.
   *
   * @returns False: nothing was taken, for the time is over, or a repair is handing over what had come.
   * @throws What {@link send} throws, `ERR_VHOST_STATE`: called on the main thread, and the error of a ring given up.
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
    this.#queues.listen();
    return this;
  }

  /**
   * Stops giving frames to handlers and loops; they wait in the ring, and then in the kernel until it
   * is full.
   */
  pause(): void {
    this.#queues.pause();
  }

  /** Goes on after {@link pause}. */
  resume(): void {
    this.#queues.resume();
  }

  /** Lets the open port keep the process alive (the default). */
  ref(): this {
    this.#queues.ref();
    return this;
  }

  /** Lets the process end although the port is open. */
  unref(): this {
    this.#queues.unref();
    return this;
  }

  /**
   * State and counters, read now.
   *
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   * @throws {VhostSystemError} `ENODEV`: the interface was moved to another namespace, where it goes on.
   */
  statistics(): PortStatistics {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', 'the port is closed');
    return {
      ...this.#queues.totals(),
      queues: this.#queues.statistics(),
      worker: this.#queues.first.worker,
      link: this.#backend.link(),
      features: this.#features,
    };
  }

  /**
   * Takes the port down: rings off the backend, watchers, worker, tap, eventfds, memory. Every view of its
   * memory has length 0 afterwards. May be called at any time, also in a handler, and twice. The promise
   * also waits until the port of an Open vSwitch bridge is removed.
   */
  async close(): Promise<void> {
    const down = new Promise<void>((resolve) => {
      if (!this.#closed) this.#takeDown(); // what it throws rejects
      resolve();
    });
    await allSettled([down, this.#unplugged]);
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
    return frameCopies(this, this.#queues);
  }

  /** A step that fails keeps none of the others from happening. */
  #takeDown(): void {
    this.#closed = true;
    try {
      this.#down.unwind();
    } finally {
      publishPort(() => ({ state: 'closed', name: this.name }));
      const tell = () => this.emit('close');
      if (this.#plug) this.#unplugged = this.#plug.remove().finally(tell);
      else tell();
    }
  }

  #negotiate(pair: QueuePair, offloads: Offloads): bigint {
    const backend = this.#backend.features;
    const wanted = wantedFeatures(offloads);
    const vhost = pair.offeredFeatures(backend & wanted);
    const negotiated = negotiate({ vhost, backend, wanted, required: REQUIRED });
    this.#backend.agree({ headerSize: headerSize(negotiated), features: negotiated });
    return negotiated;
  }

  #common(options: CheckedPortOptions, offloads: Offloads): CommonQueueOptions {
    const { mtu } = this.#backend.link();
    return {
      ...options,
      port: this,
      backend: this.#backend,
      features: this.#features,
      slotPayload: slotPayload(options.queueSize, offloads, mtu),
      mtu,
    };
  }

  #linkListener(): LinkListener {
    return {
      onChange: (link, changed) => {
        if (!this.#closed) this.emit('link', link, changed);
      },
      onGone: () => {
        // Or it was moved to another namespace, where it goes on.
        if (this.#backend.lost()) this.#queues.reportLost();
      },
    };
  }

  #obey(signal: AbortSignal): void {
    // Nobody waits for this close: what fails is told as any failure of a port.
    const abort = () => {
      this.close().catch((error: unknown) => {
        publishPort(() => ({ state: 'failed', name: this.name, error: error as Error }));
        this.emit('error', error as Error);
      });
    };
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
 * @throws {OvsError} What is wrong with Open vSwitch, or what it said no to.
 * @throws {TypeError} or `RangeError`, naming the option that does not fit.
 */
export async function openPort(options: PortOptions): Promise<Port> {
  const checked = checkPortOptions(options);
  checked.signal?.throwIfAborted();
  return openPlugged(checked, (all) => Port.open(all));
}
