import { SERIAL_IRQ, Serial } from './serial.js';
import type { MachineConsole } from './options.js';

/** Bytes that are passed on at once even where no line ends. */
const MOST_HELD = 512;
/** Milliseconds that a byte waits for more: each comes by itself. */
const HELD_FOR = 5;

/** What a console tells its machine. */
export interface ConsoleWires {
  /** An interrupt line of the machine. */
  setLine(irq: number, level: boolean): void;
  output(bytes: Buffer): void;
}

/** A serial line between a guest and two streams. */
export class Console {
  readonly serial: Serial;
  readonly #streams: MachineConsole;
  readonly #wires: ConsoleWires;
  #held: number[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(streams: MachineConsole, wires: ConsoleWires) {
    this.#streams = streams;
    this.#wires = wires;
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

  /** What the guest has written, and nobody has been given yet, goes on its way. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#held.length === 0) return;
    const bytes = Buffer.from(this.#held);
    this.#held = [];
    this.#streams.output?.write(bytes);
    this.#wires.output(bytes);
  }

  /** Lets go of the streams. */
  close(): void {
    this.flush();
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
