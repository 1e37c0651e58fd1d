import { SERIAL_IRQ, Serial } from './serial.js';
import type { MachineConsole } from './options.js';
import { callListeners } from '../listeners.js';

/** Bytes that are passed on at once even where no line ends. */
const MOST_HELD = 512;
/** Milliseconds that a byte waits for more: each comes by itself. */
const HELD_FOR = 5;
/** Bytes that wait while the output takes no more; what comes beyond them is lost. */
const MOST_WAITING = 1 << 20;

/** What a console tells its machine. */
export interface ConsoleWires {
  /** An interrupt line of the machine. */
  setLine(irq: number, level: boolean): void;
  output(bytes: Buffer): void;
}

const EMPTY = Buffer.alloc(0);

/** Bytes that wait, in one piece: a guest may bring them one at a time. */
class Pile {
  #bytes = EMPTY;
  #length = 0;

  /** Whether there was room for them. */
  add(more: Buffer): boolean {
    const length = this.#length + more.length;
    if (length > MOST_WAITING) return false;
    if (length > this.#bytes.length) this.#grow(length);
    more.copy(this.#bytes, this.#length);
    this.#length = length;
    return true;
  }

  /** All of them; none are left. */
  take(): Buffer {
    const bytes = this.#bytes.subarray(0, this.#length);
    this.#bytes = EMPTY;
    this.#length = 0;
    return bytes;
  }

  #grow(length: number): void {
    const grown = Buffer.alloc(Math.min(MOST_WAITING, 2 * length));
    this.#bytes.copy(grown);
    this.#bytes = grown;
  }
}

/** A stream that is given no more than it takes: a guest can write faster than anybody reads. */
class Outlet {
  /** Bytes for which there was no room. */
  lost = 0;
  readonly #stream: NodeJS.WritableStream;
  readonly #waiting = new Pile();
  #full = false;

  constructor(stream: NodeJS.WritableStream) {
    this.#stream = stream;
  }

  write(bytes: Buffer): void {
    if (!this.#full) this.#pass(bytes);
    else if (!this.#waiting.add(bytes)) this.lost += bytes.length;
  }

  /** Lets go of the stream; what waits is its business. */
  close(): void {
    this.#stream.off('drain', this.#onDrain);
    this.#passWaiting();
    this.#stream.off('drain', this.#onDrain);
  }

  readonly #onDrain = (): void => {
    this.#full = false;
    this.#passWaiting();
  };

  #passWaiting(): void {
    const bytes = this.#waiting.take();
    if (bytes.length > 0) this.#pass(bytes);
  }

  #pass(bytes: Buffer): void {
    this.#full = !this.#stream.write(bytes);
    if (this.#full) this.#stream.once('drain', this.#onDrain);
  }
}

/** A serial line between a guest and two streams. */
export class Console {
  readonly serial: Serial;
  readonly #streams: MachineConsole;
  readonly #wires: ConsoleWires;
  readonly #outlet: Outlet | undefined;
  #held: number[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(streams: MachineConsole, wires: ConsoleWires) {
    this.#streams = streams;
    this.#wires = wires;
    this.#outlet = streams.output && new Outlet(streams.output);
    this.serial = new Serial({
      transmit: (byte) => {
        this.#hold(byte);
      },
      interrupt: (level) => {
        wires.setLine(SERIAL_IRQ, level);
      },
    });
    streams.input?.on('data', this.#onData);
  }

  /** Bytes of the guest's that the output did not take in time. */
  get lost(): number {
    return this.#outlet?.lost ?? 0;
  }

  /** What the guest has written, and nobody has been given yet, goes on its way. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#held.length === 0) return;
    const bytes = Buffer.from(this.#held);
    this.#held = [];
    callListeners(() => this.#outlet?.write(bytes));
    this.#wires.output(bytes);
  }

  /** Lets go of the streams. */
  close(): void {
    this.flush();
    this.#outlet?.close();
    this.#streams.input?.off('data', this.#onData);
    this.#streams.input?.pause();
  }

  readonly #onData = (chunk: Buffer | string): void => {
    this.serial.receive(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
  };

  #hold(byte: number): void {
    this.#held.push(byte);
    if (byte === 0x0a || this.#held.length >= MOST_HELD) {
      this.flush();
      return;
    }
    this.#timer ??= setTimeout(() => {
      this.flush();
    }, HELD_FOR);
  }
}
