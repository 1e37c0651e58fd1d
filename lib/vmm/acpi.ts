import { buses, device, eisaId, integer, interrupt, littleEndian, memoryWindow } from './aml.js';
import { name, packageOf, portWindow, ports, resources, scope } from './aml.js';
import { bytesAt, PCI_HOLE } from './guest-ram.js';
import { KEYBOARD_PORT, PULSE_RESET, SLEEP_PORTS, SLEEP_TYPE_OFF } from './pc-devices.js';
import { PCI_PORTS } from './pci-bus.js';
import { SERIAL_IRQ, SERIAL_PORTS } from './serial.js';
import type { PortRange } from './port-bus.js';
import type { GuestMemory } from '../memory/guest-memory.js';

/** Where the tables lie: the root first, where a kernel looks that is not told. */
export const ACPI_TABLES = { start: 0xf0000, end: 0x100000 } as const;

const OEM = 'VHOST ';
const OEM_TABLE = 'MACHINE ';
const HEADER = 36;
/** Where a table has its own. */
const CHECKSUM = 9;

const LOCAL_APIC = 0xfee00000;
const IO_APIC = 0xfec00000;

/** Structures of the MADT. ACPI 6.5 §5.2.12. */
const MADT = { localApic: 0, ioApic: 1, localNmi: 4 } as const;
const ENABLED = 1;
const ALL_PROCESSORS = 0xff;
/** LINT1. */
const NMI_PIN = 1;

/** Fields of the FADT. ACPI 6.5 §5.2.9. */
const FADT = {
  length: 276,
  bootFlags: 109,
  flags: 112,
  resetRegister: 116,
  resetValue: 128,
  minorVersion: 131,
  dsdt: 140,
  sleepControl: 244,
  sleepStatus: 256,
} as const;

/** `WBINVD`, no power and no sleep button, the clock wakes nobody, `RESET_REG_SUP`, hardware-reduced. */
const FADT_FLAGS = (1 << 0) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 10) | (1 << 20);
/** A serial line; no keyboard controller, no VGA, no ASPM; interrupt messages work. */
const BOOT_FLAGS = (1 << 0) | (1 << 2) | (1 << 4);

/** The first port of a range, as a generic address: 8 bits wide. ACPI 6.5 §5.2.3.2. */
function portAddress(port: number): number[] {
  return [1, 8, 0, 1, ...littleEndian(port, 8)];
}

/** What makes all bytes together 0. */
function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function table(signature: string, revision: number, body: readonly number[]): Uint8Array {
  const text = (value: string) => [...Buffer.from(value, 'latin1')];
  const length = littleEndian(HEADER + body.length, 4);
  const head = [...text(signature), ...length, revision, 0, ...text(OEM), ...text(OEM_TABLE)];
  const versions = [...littleEndian(1, 4), ...text('VHST'), ...littleEndian(1, 4)];
  const bytes = Uint8Array.from([...head, ...versions, ...body]);
  bytes[CHECKSUM] = checksum(bytes);
  return bytes;
}

const countOf = ({ first, last }: PortRange): number => last - first + 1;

/** The devices that can't be found by looking, and how to power off. */
function dsdt(): Uint8Array {
  const bridge = device(
    'PCI0',
    name('_HID', eisaId('PNP0A03')),
    name('_UID', integer(0)),
    name('_BBN', integer(0)),
    name(
      '_CRS',
      resources(
        buses(0, 0),
        ports(PCI_PORTS.first, countOf(PCI_PORTS)),
        portWindow(0, PCI_PORTS.first - 1),
        portWindow(PCI_PORTS.last + 1, 0xffff),
        memoryWindow(PCI_HOLE.start, PCI_HOLE.byteLength),
      ),
    ),
  );
  const serial = device(
    'COM1',
    name('_HID', eisaId('PNP0501')),
    name('_UID', integer(0)),
    name(
      '_CRS',
      resources(ports(SERIAL_PORTS.first, countOf(SERIAL_PORTS)), interrupt(SERIAL_IRQ)),
    ),
  );
  // As a PC has it, for two register blocks; there are kernels that read the second one unasked.
  const off = name('_S5', packageOf(...[SLEEP_TYPE_OFF, 0, 0, 0].map(integer)));
  return table('DSDT', 2, [...scope('_SB', bridge, serial), ...off]);
}

/** Hardware-reduced: no timer, no event block and no interrupt of ACPI itself. */
function fadt(dsdtAddress: number): Uint8Array {
  const bytes = new Uint8Array(FADT.length - HEADER);
  const put = (at: number, value: readonly number[]) => {
    bytes.set(value, at - HEADER);
  };
  put(FADT.bootFlags, littleEndian(BOOT_FLAGS, 2));
  put(FADT.flags, littleEndian(FADT_FLAGS, 4));
  put(FADT.resetRegister, portAddress(KEYBOARD_PORT.first));
  put(FADT.resetValue, [PULSE_RESET]);
  put(FADT.minorVersion, [5]);
  put(FADT.dsdt, littleEndian(dsdtAddress, 8));
  put(FADT.sleepControl, portAddress(SLEEP_PORTS.first));
  put(FADT.sleepStatus, portAddress(SLEEP_PORTS.last));
  return table('FACP', 6, [...bytes]);
}

/** The processors, by the numbers of their local APICs, and the IOAPIC whose first pin is GSI 0. */
function madt(cpus: number): Uint8Array {
  const processors = Array.from({ length: cpus }, (_, id) => [
    ...[MADT.localApic, 8, id, id],
    ...littleEndian(ENABLED, 4),
  ]);
  const ioApic = [MADT.ioApic, 12, 0, 0, ...littleEndian(IO_APIC, 4), ...littleEndian(0, 4)];
  const nmi = [MADT.localNmi, 6, ALL_PROCESSORS, 0, 0, NMI_PIN];
  const head = [...littleEndian(LOCAL_APIC, 4), ...littleEndian(0, 4)];
  return table('APIC', 5, [...head, ...processors.flat(), ...ioApic, ...nmi]);
}

function xsdt(addresses: readonly number[]): Uint8Array {
  return table(
    'XSDT',
    1,
    addresses.flatMap((address) => littleEndian(address, 8)),
  );
}

/** Its first 20 bytes have a checksum of their own. ACPI 6.5 §5.2.5.3. */
function rsdp(xsdtAddress: number): Uint8Array {
  const bytes = Uint8Array.from([
    ...[...Buffer.from('RSD PTR ', 'latin1'), 0, ...Buffer.from(OEM, 'latin1'), 2],
    ...[...littleEndian(0, 4), ...littleEndian(36, 4), ...littleEndian(xsdtAddress, 8), 0, 0, 0, 0],
  ]);
  bytes[8] = checksum(bytes.subarray(0, 20));
  bytes[32] = checksum(bytes);
  return bytes;
}

/**
 * Describes the machine to a kernel that knows ACPI: its processors, interrupt controllers, bus and
 * serial line, its reset and how to power off.
 *
 * Spec: ACPI 6.5 §5.2 "ACPI System Description Tables".
 *
 * @param cpus  1 to 254; the numbers of their local APICs begin at 0.
 * @returns The address of the root, for the zero page.
 */
export function writeAcpiTables(memory: GuestMemory, cpus: number): number {
  let next: number = ACPI_TABLES.start + 64;
  const place = (bytes: Uint8Array): number => {
    const address = next;
    bytesAt(memory, address, bytes.length).set(bytes);
    next += Math.ceil(bytes.length / 16) * 16;
    return address;
  };
  const fixed = place(fadt(place(dsdt())));
  const root = rsdp(place(xsdt([fixed, place(madt(cpus))])));
  bytesAt(memory, ACPI_TABLES.start, root.length).set(root);
  return ACPI_TABLES.start;
}
