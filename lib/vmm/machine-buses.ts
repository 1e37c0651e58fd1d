import { EXIT_ADDRESS } from './guest-ram.js';
import { CMOS_PORTS, Cmos, EXIT_PORT, ExitPort } from './pc-devices.js';
import { KEYBOARD_PORT, ResetPort, SLEEP_PORTS, SleepPorts } from './pc-devices.js';
import { PCI_PORTS } from './pci-bus.js';
import type { PciBus } from './pci-bus.js';
import type { BusDevice } from './platform.js';
import { PortBus } from './port-bus.js';
import { SERIAL_PORTS } from './serial.js';
import type { Serial } from './serial.js';

/** What of a machine its buses lead to. */
export interface BusMembers {
  readonly pci: PciBus;
  readonly serial: Serial;
  /** The guest resets the machine. */
  readonly reset: () => void;
  /** The guest switches it off. */
  readonly powerOff: () => void;
  /** The guest leaves an exit status, one byte. */
  readonly exit: (status: number) => void;
}

/** Where a vCPU's accesses lead that leave the kernel. */
export interface MachineBuses {
  readonly ports: BusDevice;
  /** Addresses that are no RAM. */
  readonly memory: BusDevice;
}

/** Everything that a machine has, at its ports and addresses. */
export function machineBuses(members: BusMembers): MachineBuses {
  const exit = new ExitPort(members.exit);
  const ports = new PortBus();
  ports.add(PCI_PORTS, members.pci.ports);
  ports.add(SERIAL_PORTS, members.serial);
  ports.add(CMOS_PORTS, new Cmos());
  ports.add(KEYBOARD_PORT, new ResetPort(members.reset));
  ports.add(SLEEP_PORTS, new SleepPorts(members.powerOff));
  ports.add(EXIT_PORT, exit);
  const owner = (address: number) => (address === EXIT_ADDRESS ? exit : members.pci.memory);
  const memory = {
    read: (address: number, size: number) => owner(address).read(address, size),
    write: (address: number, size: number, value: number) => {
      owner(address).write(address, size, value);
    },
  };
  return { ports, memory };
}
