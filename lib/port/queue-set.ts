import { publishPort } from './observation.js';
import { PortQueue } from './port-queue.js';
import type { CommonQueueOptions } from './port-queue.js';
import { newRingCounters } from './statistics.js';
import type { QueueStatistics, ReceiveStatistics, TransmitStatistics } from './statistics.js';
import { tooFewQueues } from '../backend/open.js';
import { QueuePair } from '../dataplane/queue-pair.js';
import { BACKEND_LOST } from '../dataplane/repair.js';
import { VhostError } from '../errors.js';
import { allOrNothing, throwAll } from '../undo.js';

/** Milliseconds in which a worker has taken what waits for it, or somebody keeps it from that. */
const LONGEST_DRAIN = 1000;

/** The queue pairs of a port. Their number may change while it runs. */
export class QueueSet {
  readonly #common: CommonQueueOptions;
  readonly #firstPair: QueuePair;
  #queues: readonly PortQueue[] = [];
  /** Those that are being taken out of use; they run on until nothing is left in them. */
  #leaving: readonly PortQueue[] = [];
  #changes: Promise<void> = Promise.resolve();
  #repairs = 0;
  #receive: ReceiveStatistics = { ...newRingCounters(), lost: 0, held: 0 };
  #transmit: TransmitStatistics = { ...newRingCounters(), full: 0, lost: 0, inFlight: 0 };
  #paused = false;
  #referenced = true;
  readonly #full = new Set<object>();
  #closed = false;

  /**
   * Makes and starts as many as the backend has in use.
   *
   * @throws What opening a vhost descriptor or starting its rings throws; all is taken back then.
   */
  constructor(firstPair: QueuePair, common: CommonQueueOptions) {
    this.#common = common;
    this.#firstPair = firstPair;
    try {
      this.#fill(common.backend.queues.length);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Those in use. */
  get all(): readonly PortQueue[] {
    return this.#queues;
  }

  /** The first, which is always there. */
  get first(): PortQueue {
    const [first] = this.#queues;
    if (first) return first;
    throw new VhostError('ERR_VHOST_STATE', 'the backend has no queue');
  }

  /** Changes follow each other, in the order in which they were asked for. */
  resize(count: number): Promise<void> {
    const change = this.#changes.then(() => this.#resize(count));
    this.#changes = change.catch(() => undefined);
    return change;
  }

  /** Counters of all, of those that are not in use any more too, and how often one was repaired. */
  totals(): { receive: ReceiveStatistics; transmit: TransmitStatistics; repairs: number } {
    const each = this.#all.map((queue) => queue.statistics());
    return {
      receive: each.reduce((sum, { receive }) => add(sum, receive), this.#receive),
      transmit: each.reduce((sum, { transmit }) => add(sum, transmit), this.#transmit),
      repairs: each.reduce((sum, { repairs }) => sum + repairs, this.#repairs),
    };
  }

  /** Each by itself. */
  statistics(): QueueStatistics[] {
    return this.#queues.map((queue) => queue.statistics());
  }

  pause(): void {
    this.#paused = true;
    for (const { receivePath } of this.#all) receivePath.pause();
  }

  resume(): void {
    this.#paused = false;
    for (const { receivePath } of this.#all) receivePath.resume();
  }

  /** Nothing for anybody until this one has room again. */
  setFull(listener: object): void {
    this.#full.add(listener);
    for (const { receivePath } of this.#all) receivePath.setFull(listener);
  }

  /** It has. */
  clearFull(listener: object): void {
    this.#full.delete(listener);
    for (const { receivePath } of this.#all) receivePath.clearFull(listener);
  }

  ref(): void {
    this.#referenced = true;
    for (const { receivePath } of this.#all) receivePath.ref();
  }

  unref(): void {
    this.#referenced = false;
    for (const { receivePath } of this.#all) receivePath.unref();
  }

  /** Hears of handlers to come, after all listeners were removed. */
  listen(): void {
    for (const { receivePath } of this.#all) receivePath.listen();
  }

  /** The interface behind all of them is gone. */
  reportLost(): void {
    for (const { recovery } of this.#all) recovery.report(BACKEND_LOST);
  }

  /** A step that fails keeps none of the others from happening. */
  close(): void {
    this.#closed = true;
    takeDown(this.#all);
  }

  get #all(): readonly PortQueue[] {
    return [...this.#queues, ...this.#leaving];
  }

  async #resize(count: number): Promise<void> {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', 'the port is closed');
    if (count > this.#queues.length) this.#grow(count);
    else if (count < this.#queues.length) await this.#shrink(count);
  }

  #grow(count: number): void {
    const before = this.#queues.length;
    this.#setBackend(count);
    try {
      this.#fill(count);
    } catch (error) {
      const added = this.#queues.slice(before);
      this.#queues = this.#queues.slice(0, before);
      takeDown(added);
      this.#setBackend(before);
      throw error;
    }
  }

  #fill(count: number): void {
    while (this.#queues.length < count) {
      const index = this.#queues.length;
      const pair = index === 0 ? this.#firstPair : QueuePair.open();
      this.#queues = [...this.#queues, this.#start(index, pair)];
    }
  }

  /** Makes a queue, and starts it with what holds for the others. */
  #start(index: number, pair: QueuePair): PortQueue {
    return allOrNothing((undo) => {
      undo.push(() => {
        pair.close();
      });
      const queue = new PortQueue({ ...this.#common, index, pair }, undo);
      const { backend, features } = this.#common;
      if (index === 0) {
        const { worker } = pair;
        publishPort(() => ({ state: 'opened', name: backend.name, features, worker }));
      }
      if (this.#paused) queue.receivePath.pause();
      for (const listener of this.#full) queue.receivePath.setFull(listener);
      queue.recovery.start();
      if (!this.#referenced) queue.receivePath.unref();
      return queue;
    });
  }

  /** What was sent by the queues that leave goes out, and what had come by them is handed over. */
  async #shrink(count: number): Promise<void> {
    this.#leaving = this.#queues.slice(count);
    this.#queues = this.#queues.slice(0, count); // who looks for one to send by finds none that leaves
    try {
      await this.#detach(count);
    } catch (error) {
      this.#queues = this.#all;
      this.#leaving = [];
      throw error;
    }
    if (!this.#closed) await this.#retire();
  }

  /** When the queues that leave have nothing more to do, their rings stop and the backend lets go of them. */
  async #detach(count: number): Promise<void> {
    const { backend } = this.#common;
    const leaving = this.#leaving;
    const end = backend.steerAway?.(count);
    try {
      for (const queue of leaving) await queue.drained().catch(() => undefined); // it is counted
      if (end) for (const queue of leaving) await idle(queue);
      if (this.#closed) return;
      // A queue that is detached loses what is sent by it.
      for (const { recovery } of leaving) recovery.halt();
      this.#setBackend(count);
    } catch (error) {
      for (const { recovery } of leaving) recovery.goOn();
      throw error;
    } finally {
      end?.();
    }
  }

  /**
   * Hands over what had come, and waits until other ports have sent what they forward of it. What was given
   * to these queues since they were drained is lost, and counted.
   */
  async #retire(): Promise<void> {
    const leaving = this.#leaving;
    try {
      for (const { receivePath } of leaving) receivePath.finish();
      const counters = this.#closed ? [] : leaving.map((queue) => queue.abandon()); // by a handler
      for (const queue of leaving) await recalled(queue);
      if (!this.#closed) for (const last of counters) this.#sumUp(last);
    } finally {
      this.#leaving = [];
      if (!this.#closed) takeDown(leaving);
    }
  }

  #sumUp({ receive, transmit, repairs }: QueueStatistics): void {
    this.#receive = { ...add(this.#receive, receive), held: 0 };
    this.#transmit = add(this.#transmit, transmit);
    this.#repairs += repairs;
  }

  #setBackend(count: number): void {
    if (!this.#common.backend.setQueueCount) throw tooFewQueues(this.#common.backend);
    this.#common.backend.setQueueCount(count);
  }
}

/** When the worker has nothing more to bring, and what it brought was taken. */
async function idle(queue: PortQueue): Promise<void> {
  let before = -1;
  await within(queue, () => {
    const { frames } = queue.receivePath.statistics();
    const isSame = frames === before;
    before = frames;
    return isSame && queue.worker?.sleeps !== false;
  });
}

/** When no other port has anything of its memory to send. */
async function recalled(queue: PortQueue): Promise<void> {
  await within(queue, () => !queue.hasten());
}

/** Looks again and again; not at a queue that is closed, and not for ever. */
async function within(queue: PortQueue, isDone: () => boolean): Promise<void> {
  const deadline = performance.now() + LONGEST_DRAIN;
  while (!queue.closed && !isDone() && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** All workers end before any memory goes: one may read what another received. */
function takeDown(queues: readonly PortQueue[]): void {
  const errors: unknown[] = [];
  const all = (step: (queue: PortQueue) => void) => {
    for (const queue of queues) {
      try {
        step(queue);
      } catch (error) {
        errors.push(error);
      }
    }
  };
  all((queue) => {
    queue.stop();
  });
  all((queue) => {
    queue.closePair();
  });
  all((queue) => {
    queue.closeMemory();
  });
  throwAll(errors);
}

function add<T extends { [name in keyof T]: number }>(a: T, b: Readonly<T>): T {
  const sum = { ...a };
  for (const name of Object.keys(a) as (keyof T)[]) sum[name] = (a[name] + b[name]) as T[keyof T];
  return sum;
}
