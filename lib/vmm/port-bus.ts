import type { BusDevice } from './platform.js';

/** Ports of one device, the last included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** What nobody answers: all ones, as on a bus that nobody drives. */
function allOnes(size: number): number {
  return size >= 4 ? 0xffffffff : (1 << (8 * size)) - 1;
}

/** Ports, each of which leads to one device or to none. A device gets the port's own number. */
export class PortBus implements BusDevice {
  readonly #devices = new Map<number, BusDevice>();

  /** Gives a device its ports; the last one to be given a port has it. */
  add({ first, last }: PortRange, device: BusDevice): void {
    for (let port = first; port <= last; port++) this.#devices.set(port, device);
  }

  read(port: number, size: number): number {
    return this.#devices.get(port)?.read(port, size) ?? allOnes(size);
  }

  write(port: number, size: number, value: number): void {
    this.#devices.get(port)?.write(port, size, value);
  }
}
