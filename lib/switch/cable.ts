import { newFabricCounters, pass } from './fabric.js';
import type { FabricCounters, FabricPort } from './fabric.js';
import type { Frame } from '../port/frame.js';
import type { ReceiveBatch } from '../port/receive.js';

/** A frame that a ring had no room for, and by which queue it came. */
interface Waiting {
  readonly frame: Frame;
  readonly queue: number;
}

/** Frames out of one port into the other. */
class Strand {
  readonly counters = newFabricCounters();
  readonly #from: FabricPort;
  readonly #to: FabricPort;
  /** In their order. */
  #waiting: Waiting[] = [];

  constructor(from: FabricPort, to: FabricPort) {
    this.#from = from;
    this.#to = to;
    from.on('receive', this.#receive);
    to.on('drain', this.#drain);
    to.on('close', this.#drain); // what waits for it is dropped
  }

  readonly #receive = (batch: ReceiveBatch): void => {
    for (const frame of batch) {
      const { queue } = batch;
      if (this.#waiting.length === 0 && pass(frame, queue, this.#to, this.counters)) continue;
      this.#waiting.push({ frame: frame.hold(), queue });
      this.#from.pause();
    }
  };

  readonly #drain = (): void => {
    let gone = 0;
    for (const { frame, queue } of this.#waiting) {
      if (!pass(frame, queue, this.#to, this.counters)) break;
      frame.release();
      gone++;
    }
    this.#waiting = this.#waiting.slice(gone);
    if (gone > 0 && this.#waiting.length === 0) this.#from.resume();
  };

  close(): void {
    this.#from.off('receive', this.#receive);
    this.#to.off('drain', this.#drain);
    this.#to.off('close', this.#drain);
    for (const { frame } of this.#waiting) frame.release();
    this.counters.dropped += this.#waiting.length;
    this.#waiting = [];
    if (!this.#from.closed) this.#from.resume();
  }
}

/**
 * Two ports, as if a cable were plugged into both: what one receives the other sends, from where it lies
 * in memory. Nothing is lost in here: while a ring is full, frames stay in the ring they came in, and
 * their sender waits. What is for a port that was closed is dropped and counted.
 */
export class Cable {
  readonly #ports: readonly [FabricPort, FabricPort];
  readonly #strands: readonly [Strand, Strand];

  /** Begins to forward between two open ports of this thread. */
  constructor(left: FabricPort, right: FabricPort) {
    this.#ports = [left, right];
    this.#strands = [new Strand(left, right), new Strand(right, left)];
  }

  /** What became of a port's frames. */
  counters(port: FabricPort): Readonly<FabricCounters> {
    const [left, right] = this.#strands;
    return port === this.#ports[0] ? right.counters : left.counters;
  }

  /** Unplugs a port, after which nothing is forwarded any more. */
  remove(port: FabricPort): void {
    if (this.#ports.includes(port)) this.close();
  }

  /** Forwards no more. The ports stay open. */
  close(): void {
    for (const strand of this.#strands) strand.close();
  }
}
