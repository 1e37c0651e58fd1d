import assert from 'node:assert/strict';

import { PCI_CAP_ID_VNDR } from '#lib/uapi/pci';
import { PciBus } from '#lib/vmm/pci-bus';
import type { PciFunction } from '#lib/vmm/pci-bus';
import { PciConfigSpace } from '#lib/vmm/pci-config';

const ENABLE = 0x80000000;
const ONES = 0xffffffff;

/** A function with one BAR of 4 KiB that remembers what was written to it. */
class Card implements PciFunction {
  readonly config = new PciConfigSpace({
    vendorId: 0x1af4,
    deviceId: 0x1041,
    revision: 1,
    classCode: 0x020000,
    subsystemVendorId: 0x1af4,
    subsystemId: 0x1100,
  });
  readonly asked = { start: 80, end: 84 };
  readonly seen: string[] = [];

  constructor() {
    this.config.addBar(0, 4096);
  }

  readConfig(offset: number, size: number): number {
    return this.config.read(offset, size);
  }

  writeConfig(offset: number, size: number, value: number): void {
    this.config.write(offset, size, value);
  }

  readBar(bar: number, offset: number, size: number): number {
    this.seen.push(`read ${String(bar)} ${String(offset)} ${String(size)}`);
    return 0x11223344;
  }

  writeBar(bar: number, offset: number, size: number, value: number): void {
    this.seen.push(`write ${String(bar)} ${String(offset)} ${String(size)} ${String(value)}`);
  }

  reset(): void {
    this.config.reset();
  }
}

describe('PciBus', () => {
  let bus: PciBus;
  let card: Card;

  beforeEach(() => {
    bus = new PciBus({ start: 0xe0000000, byteLength: 0x3000 });
    card = new Card();
    bus.add(card);
  });

  const ports = () => bus.ports;

  function read(slot: number, offset: number, size = 4, more = 0): number {
    ports().write(0xcf8, 4, ENABLE + more + slot * 0x800 + (offset & 0xfc));
    return ports().read(0xcfc + (offset & 3), size);
  }

  function write(slot: number, offset: number, size: number, value: number): void {
    ports().write(0xcf8, 4, ENABLE + slot * 0x800 + (offset & 0xfc));
    ports().write(0xcfc + (offset & 3), size, value);
  }

  describe('configuration mechanism 1', () => {
    it('is what Linux probes for: a byte to 0xcfb, then the double word reads back', () => {
      ports().write(0xcfb, 1, 1);
      ports().write(0xcf8, 4, ENABLE);
      assert.equal(ports().read(0xcf8, 4), ENABLE);
    });

    it('has a host bridge at 00:00.0, which is what makes Linux believe it', () => {
      assert.equal(read(0, 0), 0x12378086);
      assert.equal(read(0, 8) >>> 8, 0x060000);
      assert.equal(read(0, 0x0a, 2), 0x0600);
      assert.equal(read(0, 0x0e, 1), 0);
    });

    it('finds a function in its slot, by bytes, words and double words', () => {
      assert.equal(read(1, 0), 0x10411af4);
      assert.equal(read(1, 2, 2), 0x1041);
      assert.equal(read(1, 1, 1), 0x1a);
      assert.equal(read(1, 8), 0x02000001);
      assert.equal(read(1, 0x2c), 0x11001af4);
      assert.equal(read(1, 0x3d, 1), 0, 'no interrupt line');
    });

    it('answers all ones for absent slots, buses and functions, and while it is not enabled', () => {
      assert.equal(read(2, 0), ONES);
      assert.equal(read(2, 0, 2), 0xffff);
      assert.equal(read(2, 0, 1), 0xff);
      assert.equal(read(1, 0, 4, 0x10000), ONES, 'bus 1');
      assert.equal(read(1, 0, 4, 0x100), ONES, 'function 1');
      ports().write(0xcf8, 4, 0x800);
      assert.equal(ports().read(0xcfc, 4), ONES);
    });

    it('answers all ones for accesses beyond its ports, and ignores such writes', () => {
      ports().write(0xcf8, 4, ENABLE + 0x800 + 4);
      for (const [port, size] of [
        [0xcff, 2],
        [0xcfe, 4],
        [0xcfa, 4],
      ] as const) {
        ports().write(port, size, 0);
        assert.equal(ports().read(port, size), size === 2 ? 0xffff : ONES);
      }
      assert.equal(ports().read(0xcf8, 4), ENABLE + 0x800 + 4);
      ports().write(0xcf8, 4, ENABLE + 0x800 + 8);
      ports().write(0xcff, 2, 0x0505);
      assert.equal(read(1, 0x0c, 1), 0, 'the next double word');
    });

    it('counts accesses to functions', () => {
      read(1, 0);
      write(1, 4, 2, 2);
      read(2, 0);
      assert.equal(bus.statistics().configAccesses, 2);
    });
  });

  describe('a mirror', () => {
    /** The command register of each slot as it was told, in this order. */
    let told: string[];

    beforeEach(() => {
      told = [];
      bus.mirrorTo((slot, bytes, { start, end }) => {
        told.push([slot, bytes.length, bytes[4], start, end].join(' '));
      });
    });

    it('is told at once what every slot has, and which bytes it may not answer', () => {
      assert.deepEqual(told, ['0 256 0 0 0', '1 256 0 80 84']);
    });

    it('is told of a write before it is answered, of the function that was written to', () => {
      told.length = 0;
      write(1, 4, 2, 4);
      assert.deepEqual(told, ['1 256 4 80 84']);
    });

    it('is told of a reset, and of nothing more once there is another', () => {
      write(1, 4, 2, 4);
      told.length = 0;
      bus.reset();
      assert.deepEqual(told, ['0 256 0 0 0', '1 256 0 80 84']);
      bus.mirrorTo(undefined);
      write(1, 4, 2, 4);
      assert.equal(told.length, 2);
    });

    it('is told of a write that fails, too: something of it may have been done', () => {
      card.writeConfig = (offset, size, value) => {
        card.config.write(offset, size, value);
        throw new Error('of the function');
      };
      told.length = 0;
      assert.throws(() => {
        write(1, 4, 2, 4);
      }, /of the function/);
      assert.deepEqual(told, ['1 256 4 80 84']);
    });

    it('is not told of reads, nor of writes to what is not there', () => {
      told.length = 0;
      read(1, 4);
      write(2, 4, 2, 4);
      assert.deepEqual(told, []);
    });
  });

  describe('configuration space', () => {
    it('has a BAR that tells its size when ones are written', () => {
      assert.equal(read(1, 0x10), 0xe0000000);
      write(1, 0x10, 4, ONES);
      assert.equal(read(1, 0x10), 0xfffff000);
      write(1, 0x14, 4, ONES);
      assert.equal(read(1, 0x14), 0, 'no BAR 1');
    });

    it('keeps what may not be changed', () => {
      for (let offset = 0; offset < 256; offset += 4) write(1, offset, 4, ONES);
      assert.equal(read(1, 0), 0x10411af4);
      assert.equal(read(1, 4), 0x406, 'memory, master, no INTx; no status');
      assert.equal(read(1, 8), 0x02000001);
      assert.equal(read(1, 0x34), 0);
      assert.equal(read(1, 0x3c), 0xff);
    });

    it('lists capabilities in their order, with only the bits allowed writable', () => {
      const config = card.config;
      const first = config.addCapability(PCI_CAP_ID_VNDR, Uint8Array.of(1, 2, 3));
      const second = config.addCapability(0x11, Uint8Array.of(4, 5), Uint8Array.of(0, 0x80));
      assert.equal(read(1, 6, 2), 0x10);
      assert.equal(read(1, 0x34, 1), first);
      assert.equal(read(1, first + 1, 1), second);
      assert.equal(read(1, second + 1, 1), 0);
      assert.equal(second % 4, 0);
      write(1, second, 4, ONES);
      assert.equal(read(1, second, 4), 0x85040011);
    });

    it('refuses more capabilities than there is room for', () => {
      assert.throws(() => card.config.addCapability(9, new Uint8Array(200)), RangeError);
    });
  });

  describe('memory', () => {
    beforeEach(() => {
      write(1, 4, 2, 2);
    });

    it('finds the BAR, and where in it', () => {
      assert.equal(bus.memory.read(0xe0000ffc, 4), 0x11223344);
      bus.memory.write(0xe0000000, 2, 7);
      assert.deepEqual(card.seen, ['read 0 4092 4', 'write 0 0 2 7']);
    });

    it('answers all ones where nobody is, across the end of a BAR, and before its beginning', () => {
      assert.equal(bus.memory.read(0xd0000000, 4), ONES);
      assert.equal(bus.memory.read(0xe0000ffe, 4), ONES);
      assert.equal(bus.memory.read(0xdffffffe, 4), ONES);
      assert.equal(bus.memory.read(0xe0001000, 1), 0xff);
      bus.memory.write(0xe0000ffd, 4, 1);
      assert.deepEqual(card.seen, []);
    });

    it('follows a BAR that is moved, and a decode that is turned off', () => {
      write(1, 0x10, 4, 0xd0000000);
      assert.equal(bus.memory.read(0xe0000000, 4), ONES);
      assert.equal(bus.memory.read(0xd0000000, 4), 0x11223344);
      write(1, 4, 2, 0);
      assert.equal(bus.memory.read(0xd0000000, 4), ONES);
    });

    it('comes back after a reset as it was at first', () => {
      write(1, 0x10, 4, 0xd0000000);
      bus.reset();
      assert.equal(read(1, 0x10), 0xe0000000);
      assert.equal(read(1, 4, 2), 0);
      assert.equal(bus.memory.read(0xe0000000, 4), ONES);
    });

    it('gives each BAR a place of its own, aligned, until the hole is full', () => {
      const other = new Card();
      assert.equal(bus.add(other), 2);
      assert.equal(read(2, 0x10), 0xe0001000);
      bus.add(new Card());
      assert.throws(() => bus.add(new Card()), RangeError);
    });
  });
});
