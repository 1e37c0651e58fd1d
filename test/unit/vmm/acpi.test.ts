import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { GuestMemory } from '#lib/memory/guest-memory';
import { writeAcpiTables } from '#lib/vmm/acpi';
import { eisaId, integer, name, resources, scope } from '#lib/vmm/aml';
import { bytesAt } from '#lib/vmm/guest-ram';

function memory(): GuestMemory {
  const byteLength = 2 ** 20;
  const buffer = new ArrayBuffer(byteLength);
  return new GuestMemory([{ guestAddress: 0, hostAddress: 0n, byteLength, buffer }]);
}

const sum = (bytes: Uint8Array) => bytes.reduce((all, byte) => all + byte, 0) & 0xff;

/** A table at an address, checked as every kernel checks it. */
class Table {
  readonly bytes: Buffer;

  constructor(guest: GuestMemory, address: number) {
    const head = bytesAt(guest, address, 8);
    const length = new DataView(head.buffer, head.byteOffset).getUint32(4, true);
    this.bytes = Buffer.from(bytesAt(guest, address, length));
    assert.equal(sum(this.bytes), 0, `the checksum of ${this.signature}`);
  }

  get signature(): string {
    return this.bytes.toString('latin1', 0, 4);
  }
}

/** All of them, found as a kernel finds them: from the root. */
function tablesOf(cpus: number): Map<string, Table> {
  const guest = memory();
  const root = Buffer.from(bytesAt(guest, writeAcpiTables(guest, cpus), 36));
  assert.equal(root.toString('latin1', 0, 8), 'RSD PTR ');
  assert.equal(sum(root.subarray(0, 20)), 0, 'the checksum of the first version');
  assert.equal(sum(root), 0, 'the checksum of the second');
  const xsdt = new Table(guest, Number(root.readBigUInt64LE(24)));
  const found = new Map([[xsdt.signature, xsdt]]);
  for (let at = 36; at < xsdt.bytes.length; at += 8) {
    const table = new Table(guest, Number(xsdt.bytes.readBigUInt64LE(at)));
    found.set(table.signature, table);
  }
  const dsdt = new Table(guest, Number(found.get('FACP')?.bytes.readBigUInt64LE(140)));
  return found.set(dsdt.signature, dsdt);
}

describe('the tables of ACPI', () => {
  it('are found from their root, each with its checksum', () => {
    assert.deepEqual([...tablesOf(1).keys()].sort(), ['APIC', 'DSDT', 'FACP', 'XSDT']);
  });

  it('name every processor once, and the IOAPIC where it is', () => {
    const bytes = tablesOf(4).get('APIC')?.bytes ?? Buffer.alloc(0);
    assert.equal(bytes.readUInt32LE(36), 0xfee00000);
    const ids: number[] = [];
    for (let at = 44; at < bytes.length; at += bytes[at + 1] ?? 1) {
      if (bytes[at] === 0) ids.push(bytes[at + 3] ?? -1);
      if (bytes[at] === 1) assert.equal(bytes.readUInt32LE(at + 4), 0xfec00000);
    }
    assert.deepEqual(ids, [0, 1, 2, 3]);
  });

  it('say how the machine is reset, and switched off', () => {
    const bytes = tablesOf(1).get('FACP')?.bytes ?? Buffer.alloc(0);
    assert.equal(bytes.length, 276);
    const port = (at: number) => [bytes[at], bytes[at + 1], Number(bytes.readBigUInt64LE(at + 4))];
    assert.deepEqual(port(116), [1, 8, 0x64]);
    assert.equal(bytes[128], 0xfe);
    assert.deepEqual(port(244), [1, 8, 0x600]);
    assert.deepEqual(port(256), [1, 8, 0x601]);
    assert.ok((bytes.readUInt32LE(112) & (1 << 20)) !== 0, 'hardware-reduced');
  });

  it('have a package for "off" in which every kernel finds what it looks for', () => {
    // Four numbers, as those of a PC: OpenBSD reads the second one unasked.
    const off = [0x08, ...Buffer.from('_S5_'), 0x12, 7, 4, 0x0a, 5, 0, 0, 0];
    assert.ok(tablesOf(1).get('DSDT')?.bytes.includes(Buffer.from(off)));
  });

  it('are read by another implementation as what they mean', function () {
    if (spawnSync('iasl', ['-v']).error) return this.skip();
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vhost-net-acpi-'));
    try {
      fs.writeFileSync(path.join(folder, 'd.aml'), tablesOf(1).get('DSDT')?.bytes ?? '');
      const { stderr, status } = spawnSync('iasl', ['-d', 'd.aml'], { cwd: folder });
      assert.equal(status, 0, String(stderr));
      const text = fs.readFileSync(path.join(folder, 'd.dsl'), 'utf8').replace(/\s+/g, ' ');
      assert.match(text, /Device \(PCI0\) { Name \(_HID, EisaId \("PNP0A03"\)/);
      assert.match(text, /Device \(COM1\) { Name \(_HID, EisaId \("PNP0501"\)/);
      assert.match(
        text,
        /Interrupt \(ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, \) { 0x0{7}4, }/,
      );
      assert.match(text, /DWordMemory \(ResourceProducer.* 0xC0000000, .* 0xFEAFFFFF, /);
      assert.match(text, /Name \(_S5, Package \(0x04\).* { 0x05, Zero, Zero, Zero }\)/);
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });
});

describe("ACPI's machine language", () => {
  it('has integers as short as they can be', () => {
    assert.deepEqual(integer(0), [0]);
    assert.deepEqual(integer(0xff), [0x0a, 0xff]);
    assert.deepEqual(integer(0x100), [0x0b, 0, 1]);
    assert.deepEqual(integer(0x12345678), [0x0c, 0x78, 0x56, 0x34, 0x12]);
  });

  it('packs the names of devices', () => {
    // "PNP0A03", as every DSDT of a PC has it.
    assert.deepEqual(eisaId('PNP0A03'), [0x0c, 0x41, 0xd0, 0x0a, 0x03]);
  });

  it('counts lengths over one byte and over two', () => {
    const short = scope('_SB', name('A', integer(0)));
    assert.deepEqual(short, [0x10, 12, 0x5c, ...Buffer.from('_SB_'), 8, ...Buffer.from('A___'), 0]);
    const long = resources(new Array<number>(100).fill(0));
    assert.deepEqual(long.slice(0, 5), [0x11, 0x40 | (106 & 0xf), 106 >> 4, 0x0a, 102]);
    assert.equal(long.length, 107);
  });
});
