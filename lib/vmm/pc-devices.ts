/** The small change of a PC that Linux looks for, and waits for where it is not. */
import type { BusDevice } from './platform.js';
import type { PortRange } from './port-bus.js';

/** Command and status of the keyboard controller. */
export const KEYBOARD_PORT: PortRange = { first: 0x64, last: 0x64 };
/** Index and data of the clock with its memory. */
export const CMOS_PORTS: PortRange = { first: 0x70, last: 0x71 };

/** Control and status of sleep, of which there is one: off. */
export const SLEEP_PORTS: PortRange = { first: 0x600, last: 0x601 };

/** Where a guest leaves its exit status. */
export const EXIT_PORT: PortRange = { first: 0xf4, last: 0xf4 };

/** Pulses the processor's reset line. */
export const PULSE_RESET = 0xfe;

/**
 * Bytes without end in its output: Linux takes that for "none there" at once. And none in its input, so
 * that Linux does not wait before it resets the machine. `drivers/input/serio/i8042.c` `i8042_flush`,
 * `arch/x86/kernel/reboot.c` `kb_wait`.
 */
const STATUS = 0xfd;

/** Of a keyboard controller only the way to reset the machine, which the ACPI tables name as well. */
export class ResetPort implements BusDevice {
  readonly #reset: () => void;

  constructor(reset: () => void) {
    this.#reset = reset;
  }

  read(): number {
    return STATUS;
  }

  write(_port: number, _size: number, value: number): void {
    if (value === PULSE_RESET) this.#reset();
  }
}

/**
 * Ends the machine with the byte that is written there: whoever powers off leaves no status.
 */
export class ExitPort implements BusDevice {
  readonly #exit: (status: number) => void;

  constructor(exit: (status: number) => void) {
    this.#exit = exit;
  }

  read(): number {
    return 0xff;
  }

  write(_port: number, _size: number, value: number): void {
    this.#exit(value & 0xff);
  }
}

/** `SLP_EN`: go to sleep; bits 2 to 4 say how deep. ACPI 6.5 §4.8.3.7. */
const SLEEP_ENABLE = 0x20;
/** How deep "off" is, which is the tables' to say. */
export const SLEEP_TYPE_OFF = 5;
/** `WAK_STS`: awake, as always where this can be read. */
const AWAKE = 0x80;

/** The sleep registers of hardware-reduced ACPI. */
export class SleepPorts implements BusDevice {
  readonly #powerOff: () => void;

  constructor(powerOff: () => void) {
    this.#powerOff = powerOff;
  }

  read(port: number): number {
    return port === SLEEP_PORTS.last ? AWAKE : 0;
  }

  write(port: number, _size: number, value: number): void {
    const off = SLEEP_ENABLE | (SLEEP_TYPE_OFF << 2);
    if (port === SLEEP_PORTS.first && (value & 0x3c) === off) this.#powerOff();
  }
}

const bcd = (value: number): number => (Math.floor(value / 10) << 4) | (value % 10);

/** Registers of an MC146818, as far as they are not the time. */
const FIXED: Readonly<Record<number, number>> = {
  0x0a: 0x26, // its oscillator runs, and no update is in progress
  0x0b: 0x02, // 24 hours, decimal
  0x0d: 0x80, // its battery is good
};

/** The clock at ports 0x70 and 0x71, in UTC: without it Linux waits a second for its update to end. */
export class Cmos implements BusDevice {
  readonly #now: () => Date;
  #index = 0;

  constructor(now: () => Date = () => new Date()) {
    this.#now = now;
  }

  read(port: number): number {
    if (port === CMOS_PORTS.first) return 0xff;
    return FIXED[this.#index] ?? this.#time();
  }

  /** The time can't be set: it is the host's. */
  write(port: number, _size: number, value: number): void {
    if (port === CMOS_PORTS.first) this.#index = value & 0x7f;
  }

  #time(): number {
    const now = this.#now();
    switch (this.#index) {
      case 0x00:
        return bcd(now.getUTCSeconds());
      case 0x02:
        return bcd(now.getUTCMinutes());
      case 0x04:
        return bcd(now.getUTCHours());
      case 0x06:
        return now.getUTCDay() + 1;
      case 0x07:
        return bcd(now.getUTCDate());
      case 0x08:
        return bcd(now.getUTCMonth() + 1);
      case 0x09:
        return bcd(now.getUTCFullYear() % 100);
      case 0x32:
        return bcd(Math.floor(now.getUTCFullYear() / 100));
      default:
        return 0;
    }
  }
}
