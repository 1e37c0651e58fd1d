import type { Frame, Port } from 'vhost-net';

/**
 * One direction between two ports: what one receives the other sends. While that one's ring is full,
 * frames wait in the slots they came in, and the kernel's sender is slowed down instead of losing some.
 */
export class Forwarder {
  /** How often the other ring had no room. */
  waits = 0;

  readonly #from: Port;
  readonly #to: Port;
  readonly #waiting: Frame[] = [];

  constructor(from: Port, to: Port) {
    this.#from = from;
    this.#to = to;
    from.on('receive', (batch) => {
      for (const frame of batch) this.#pass(frame);
    });
    to.on('drain', () => {
      this.#goOn();
    });
  }

  #pass(frame: Frame): void {
    if (this.#waiting.length === 0) {
      if (this.#to.forward(frame)) return;
      this.waits++;
      this.#from.pause();
    }
    this.#waiting.push(frame.hold());
  }

  #goOn(): void {
    for (let next = this.#waiting[0]; next && this.#to.forward(next); next = this.#waiting[0]) {
      this.#waiting.shift();
      next.release();
    }
    if (this.#waiting.length === 0) this.#from.resume();
  }
}
