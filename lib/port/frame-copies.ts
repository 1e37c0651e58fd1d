import type { EventEmitter } from 'node:events';

import type { PortEvents } from './events.js';
import type { ReceiveBatch } from './receive.js';
import type { NetHeader } from '../ring/net-header.js';

/** A received frame that stays valid. */
export interface FrameCopy {
  /** The frame, from its destination address on. */
  readonly bytes: Uint8Array;
  /** The virtio-net header that came with it: what of the frame is still unfinished. */
  readonly header: NetHeader;
}

/** Copies that may wait for a slow loop; beyond, frames stay in the ring. */
const LIMIT = 4096;

/** A port, as far as a loop over it is concerned. */
type Source = EventEmitter<PortEvents> & { readonly closed: boolean };

/** Who is told when a loop can't keep up, and when it can again. */
interface Pace {
  setFull(loop: object): void;
  clearFull(loop: object): void;
}

/** What one loop over a port waits for and works through. */
class FrameQueue {
  readonly #port: Source;
  readonly #pace: Pace;
  #copies: FrameCopy[] = [];
  #at = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  readonly #onReceive = (batch: ReceiveBatch): void => {
    for (const frame of batch) {
      this.#copies.push({ bytes: frame.bytes.slice(), header: frame.header });
    }
    if (this.#copies.length - this.#at >= LIMIT) this.#pace.setFull(this);
    this.#wake?.();
  };

  readonly #onError = (error: Error): void => {
    this.#error = error;
    this.#onClose();
  };

  readonly #onClose = (): void => {
    this.#ended = true;
    this.#wake?.();
  };

  constructor(port: Source, pace: Pace) {
    this.#port = port;
    this.#pace = pace;
    this.#ended = port.closed;
    port.on('receive', this.#onReceive).on('error', this.#onError).on('close', this.#onClose);
  }

  /** The next copy; undefined at the end. */
  async next(): Promise<FrameCopy | undefined> {
    while (this.#at === this.#copies.length && !this.#ended) await this.#more();
    const copy = this.#copies[this.#at];
    if (copy !== undefined) this.#at++;
    else if (this.#error) throw this.#error;
    return copy;
  }

  end(): void {
    this.#ended = true;
    this.#port
      .off('receive', this.#onReceive)
      .off('error', this.#onError)
      .off('close', this.#onClose);
    this.#pace.clearFull(this);
  }

  async #more(): Promise<void> {
    this.#copies = [];
    this.#at = 0;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.#pace.clearFull(this);
    });
    this.#wake = undefined;
  }
}

/** Copies of a port's frames, in order; ends when the port closes. */
export async function* frameCopies(port: Source, pace: Pace): AsyncGenerator<FrameCopy, void> {
  const queue = new FrameQueue(port, pace);
  try {
    for (let copy = await queue.next(); copy; copy = await queue.next()) yield copy;
  } finally {
    queue.end();
  }
}
