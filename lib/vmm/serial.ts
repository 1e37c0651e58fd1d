import type { BusDevice } from './platform.js';

/** The ports of the first serial line of a PC, and its interrupt. */
export const SERIAL_PORTS = { first: 0x3f8, last: 0x3ff } as const;
/** The interrupt of the first serial line of a PC. */
export const SERIAL_IRQ = 4;

/** Registers, by port. National Semiconductor PC16550D §8.0 "Registers". */
const DATA = 0;
const INTERRUPT_ENABLE = 1;
const INTERRUPT_IDENTITY = 2;
const LINE_CONTROL = 3;
const MODEM_CONTROL = 4;
const LINE_STATUS = 5;
const MODEM_STATUS = 6;
const SCRATCH = 7;

const ENABLE_RECEIVED = 0x01;
const ENABLE_EMPTY = 0x02;
const IDENTITY_NONE = 0x01;
const IDENTITY_EMPTY = 0x02;
const IDENTITY_RECEIVED = 0x04;
/** What tells a 16550A from its ancestors, whose drivers send one byte an interrupt. */
const IDENTITY_FIFO = 0xc0;
const FIFO_ENABLE = 0x01;
const FIFO_CLEAR_RECEIVED = 0x02;
const DIVISOR_LATCH = 0x80;
const LOOPBACK = 0x10;
/** On a PC this output lets the interrupt through to its line. */
const OUT2 = 0x08;
const DATA_READY = 0x01;
/** Everything was sent the moment that it was written. */
const TRANSMITTER_EMPTY = 0x60;
/** Carrier detect, data set ready, clear to send. */
const CONNECTED = 0xb0;

/** What is typed faster than the guest reads, and then is lost. */
const MOST_WAITING = 1 << 16;
/** What goes round in a loop and is not read: the FIFO's depth. */
const MOST_LOOPED = 16;

/** Bytes in the order in which they came, so many at the most. */
class ByteQueue {
  readonly #bytes: Uint8Array;
  #head = 0;
  #length = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
  }

  get empty(): boolean {
    return this.#length === 0;
  }

  /** One for which there is no room is lost. */
  push(byte: number): void {
    const { length: capacity } = this.#bytes;
    if (this.#length === capacity) return;
    this.#bytes[(this.#head + this.#length) % capacity] = byte;
    this.#length++;
  }

  /** 0 where none is left. */
  shift(): number {
    if (this.empty) return 0;
    const byte = this.#bytes[this.#head] ?? 0;
    this.#head = (this.#head + 1) % this.#bytes.length;
    this.#length--;
    return byte;
  }

  clear(): void {
    this.#length = 0;
  }
}

/** Where a serial line leads. */
export interface SerialWires {
  /** A byte that the guest sent. */
  transmit(byte: number): void;
  /** The interrupt line, whenever it changes. */
  interrupt(level: boolean): void;
}

/** A 16550A with FIFOs, infinitely fast: a byte that the guest writes has been sent. */
export class Serial implements BusDevice {
  readonly #wires: SerialWires;
  #enabled = 0;
  #lineControl = 0;
  #modemControl = 0;
  #scratch = 0;
  #divisor = 1;
  #fifo = false;
  /** That the transmitter ran empty was not told yet. */
  #emptyPending = false;
  #level = false;
  readonly #typed = new ByteQueue(MOST_WAITING);
  /** What the guest sent to itself. */
  readonly #looped = new ByteQueue(MOST_LOOPED);

  constructor(wires: SerialWires) {
    this.#wires = wires;
  }

  /** Bytes for the guest; what it has no room for any more is lost. */
  receive(bytes: Uint8Array): void {
    for (const byte of bytes) this.#typed.push(byte);
    this.#update();
  }

  /** The state after power-on. What was typed and waits to be read by the guest still waits. */
  reset(): void {
    this.#enabled = this.#lineControl = this.#modemControl = this.#scratch = 0;
    this.#divisor = 1;
    this.#fifo = this.#emptyPending = false;
    this.#looped.clear();
    this.#update();
  }

  read(address: number): number {
    switch (address & 7) {
      case DATA:
        return this.#latched ? this.#divisor & 0xff : this.#take();
      case INTERRUPT_ENABLE:
        return this.#latched ? this.#divisor >> 8 : this.#enabled;
      case INTERRUPT_IDENTITY:
        return this.#identify();
      case LINE_CONTROL:
        return this.#lineControl;
      case MODEM_CONTROL:
        return this.#modemControl;
      case LINE_STATUS:
        return TRANSMITTER_EMPTY | (this.#received.empty ? 0 : DATA_READY);
      case MODEM_STATUS:
        return this.#modemStatus();
      default:
        return this.#scratch;
    }
  }

  write(address: number, _size: number, written: number): void {
    const value = written & 0xff;
    switch (address & 7) {
      case DATA:
        if (this.#latched) this.#divisor = (this.#divisor & 0xff00) | value;
        else this.#send(value);
        break;
      case INTERRUPT_ENABLE:
        if (this.#latched) this.#divisor = (this.#divisor & 0xff) | (value << 8);
        else this.#enable(value);
        break;
      case INTERRUPT_IDENTITY:
        this.#fifo = (value & FIFO_ENABLE) !== 0;
        if ((value & FIFO_CLEAR_RECEIVED) !== 0) this.#looped.clear();
        break;
      case LINE_CONTROL:
        this.#lineControl = value;
        break;
      case MODEM_CONTROL:
        this.#modemControl = value & 0x1f;
        if (!this.#loops) this.#looped.clear();
        break;
      case SCRATCH:
        this.#scratch = value;
        break;
      default: // The two status registers are not for writing.
    }
    this.#update();
  }

  get #latched(): boolean {
    return (this.#lineControl & DIVISOR_LATCH) !== 0;
  }

  get #loops(): boolean {
    return (this.#modemControl & LOOPBACK) !== 0;
  }

  /** What comes in: in a loop the line is cut off, and what was typed waits for its end. */
  get #received(): ByteQueue {
    return this.#loops ? this.#looped : this.#typed;
  }

  #take(): number {
    const byte = this.#received.shift();
    this.#update();
    return byte;
  }

  #send(byte: number): void {
    if (this.#loops) this.#looped.push(byte);
    else this.#wires.transmit(byte);
    this.#emptyPending = true;
  }

  /** A transmitter that is empty when it is asked to say so says it at once. */
  #enable(value: number): void {
    if ((value & ~this.#enabled & ENABLE_EMPTY) !== 0) this.#emptyPending = true;
    this.#enabled = value & 0x0f;
  }

  get #cause(): number {
    if ((this.#enabled & ENABLE_RECEIVED) !== 0 && !this.#received.empty) return IDENTITY_RECEIVED;
    if ((this.#enabled & ENABLE_EMPTY) !== 0 && this.#emptyPending) return IDENTITY_EMPTY;
    return IDENTITY_NONE;
  }

  #identify(): number {
    const cause = this.#cause;
    if (cause === IDENTITY_EMPTY) {
      this.#emptyPending = false;
      this.#update();
    }
    return cause | (this.#fifo ? IDENTITY_FIFO : 0);
  }

  /** In a loop the four outputs are the four inputs: how drivers find out whether somebody is there. */
  #modemStatus(): number {
    if (!this.#loops) return CONNECTED;
    const [dtr, rts, out1, out2] = [1, 2, 4, 8].map((bit) => (this.#modemControl & bit) !== 0);
    return (dtr ? 0x20 : 0) | (rts ? 0x10 : 0) | (out1 ? 0x40 : 0) | (out2 ? 0x80 : 0);
  }

  #update(): void {
    const through = (this.#modemControl & (OUT2 | LOOPBACK)) === OUT2;
    const level = through && this.#cause !== IDENTITY_NONE;
    if (level === this.#level) return;
    this.#level = level;
    this.#wires.interrupt(level);
  }
}
