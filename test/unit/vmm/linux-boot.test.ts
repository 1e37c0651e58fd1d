import assert from 'node:assert/strict';

import { bzImage, elf } from '../../support/kernel-files.js';
import { GuestMemory } from '#lib/memory/guest-memory';
import { bytesAt, ramRanges } from '#lib/vmm/guest-ram';
import { inMemory } from '#lib/vmm/image-file';
import type { Content } from '#lib/vmm/image-file';
import { readBzImage, readVmlinux } from '#lib/vmm/kernel-image';
import { LAYOUT, e820, loadLinux } from '#lib/vmm/linux-boot';
import { writeCpuTables } from '#lib/vmm/x86-cpu';

const MIB = 2 ** 20;

/** Memory that nobody runs in. */
function memoryOf(byteLength: number): GuestMemory {
  const buffer = new ArrayBuffer(byteLength);
  return new GuestMemory([{ guestAddress: 0, hostAddress: 0n, byteLength, buffer }]);
}

/** Regions whose bytes nobody touches, of any size. */
function regionsOf(memoryMiB: number): GuestMemory {
  const pretend = (byteLength: number) => ({ byteLength }) as ArrayBuffer;
  return new GuestMemory(
    ramRanges(memoryMiB).map(({ guestAddress, byteLength }) => ({
      ...{ guestAddress, byteLength, hostAddress: 0n },
      buffer: pretend(byteLength),
    })),
  );
}

function zeroPage(memory: GuestMemory): DataView {
  const page = bytesAt(memory, LAYOUT.zeroPage, 4096);
  return new DataView(page.buffer, page.byteOffset, page.byteLength);
}

const kernel = readBzImage(inMemory(bzImage()));

function contentOf(bytes: Uint8Array): Content {
  return inMemory(bytes).part(0, bytes.byteLength);
}

describe('loadLinux', () => {
  it('writes a zero page as the boot protocol has it', () => {
    const memory = memoryOf(64 * MIB);
    const initrd = new Uint8Array(5000).fill(7);
    const boot = { kernel, initrd: contentOf(initrd), commandLine: 'quiet' };
    const entry = loadLinux(memory, boot);
    assert.deepEqual(entry, { instruction: 0x100200, zeroPage: LAYOUT.zeroPage });
    const page = zeroPage(memory);
    assert.equal(page.getUint8(0x1ef), 0, 'the sentinel');
    assert.equal(page.getUint32(0x202, true), 0x53726448, 'the header was copied');
    assert.equal(page.getUint8(0x210), 0xff, 'type_of_loader');
    assert.equal(page.getBigUint64(0x70, true), 0xf0000n, 'acpi_rsdp_addr');
    assert.equal(page.getUint32(0x228, true), LAYOUT.commandLine, 'cmd_line_ptr');
    const start = page.getUint32(0x218, true);
    assert.equal(page.getUint32(0x21c, true), 5000, 'ramdisk_size');
    assert.equal(start % 4096, 0);
    assert.equal(start + 8192, 64 * MIB, 'as high as it can be');
    assert.deepEqual(bytesAt(memory, start, 5000), initrd);
    const text = bytesAt(memory, LAYOUT.commandLine, 6);
    assert.equal(Buffer.from(text).toString(), 'quiet\0');
  });

  it('puts the kernel where it goes, and zero behind it', () => {
    const memory = memoryOf(64 * MIB);
    const segment = { address: 0x1000000, bytes: Uint8Array.of(1, 2, 3), memoryLength: 16 };
    bytesAt(memory, 0x1000000, 32).fill(9);
    loadLinux(memory, {
      kernel: readVmlinux(inMemory(elf(0x1000000, [segment]))),
      commandLine: '',
    });
    const loaded = [...bytesAt(memory, 0x1000000, 17)];
    assert.deepEqual(loaded, [1, 2, 3, ...new Array<number>(13).fill(0), 9]);
  });

  it('does not touch what is to be zero where memory is, so that nobody has to give it', () => {
    const memory = memoryOf(20 * MIB);
    const segment = { address: 0x1000000, bytes: Uint8Array.of(1, 2, 3), memoryLength: 16 };
    const all = bytesAt(memory, 0, 20 * MIB).fill(9);
    const file = inMemory(elf(0x1000000, [segment]));
    loadLinux(memory, { kernel: readVmlinux(file), commandLine: '' }, { isZero: true });
    const touched = all.reduce((count, byte) => count + Number(byte !== 9), 0);
    assert.ok(touched < 8192, `${String(touched)} bytes`);
    assert.deepEqual([...bytesAt(memory, 0x1000000, 5)], [1, 2, 3, 9, 9]);
  });

  it('clears what one segment is to clear of another, also where memory is zero', () => {
    const memory = memoryOf(20 * MIB);
    const segments = [
      { address: 0x1000000, bytes: Uint8Array.of(1, 2, 3), memoryLength: 3 },
      { address: 0x1000000, bytes: Uint8Array.of(4), memoryLength: 16 },
    ];
    const file = inMemory(elf(0x1000000, segments));
    loadLinux(memory, { kernel: readVmlinux(file), commandLine: '' }, { isZero: true });
    assert.deepEqual([...bytesAt(memory, 0x1000000, 3)], [4, 0, 0]);
  });

  it('leaves no table of an earlier life where a kernel would look for one', () => {
    const memory = memoryOf(64 * MIB);
    bytesAt(memory, 0xf0000, 4).set(Buffer.from('_MP_'));
    bytesAt(memory, 0x9f800, 4).set(Buffer.from('_MP_'));
    loadLinux(memory, { kernel, commandLine: '' });
    assert.equal(Buffer.from(bytesAt(memory, 0xf0000, 8)).toString(), 'RSD PTR ');
    assert.equal(bytesAt(memory, 0x9f800, 4)[0], 0);
  });

  it('keeps the initrd below what the kernel can reach', () => {
    const memory = memoryOf(64 * MIB);
    const low = readBzImage(inMemory(bzImage({ initrdMost: 0x2ffffff })));
    loadLinux(memory, { kernel: low, initrd: contentOf(new Uint8Array(4096)), commandLine: '' });
    assert.equal(zeroPage(memory).getUint32(0x218, true), 0x3000000 - 4096);
  });

  it('refuses a kernel, an initrd or a command line that does not fit, with what would', () => {
    const small = memoryOf(16 * MIB);
    const boot = { kernel, commandLine: '' };
    assert.throws(() => loadLinux(small, boot), /memoryMiB must be at least 19 for this kernel/);
    const memory = memoryOf(20 * MIB);
    const initrd = contentOf(new Uint8Array(2 * MIB));
    assert.throws(
      () => loadLinux(memory, { ...boot, initrd }),
      /initrd must be at most the 1048576/,
    );
    const commandLine = 'x'.repeat(2048);
    assert.throws(() => loadLinux(memory, { ...boot, commandLine }), /at most 2047 bytes/);
    assert.throws(() => loadLinux(memory, { ...boot, commandLine: 'a\0b' }), /without NUL/);
  });
});

describe('e820', () => {
  it('splits memory at the hole, and begins again at 4 GiB', () => {
    const rows = e820(regionsOf(8192));
    assert.deepEqual(rows.slice(-2), [
      [MIB, 0xc0000000, 1],
      [2 ** 32, 2 ** 32 + 5 * 2 ** 30, 1],
    ]);
  });

  it('has nothing beyond 4 GiB for a machine that ends before', () => {
    assert.deepEqual(e820(regionsOf(256)), [
      [0, 0x9fc00, 1],
      [0x9fc00, 0xa0000, 2],
      [0xf0000, 0x100000, 2],
      [MIB, 256 * MIB, 1],
    ]);
  });
});

describe('ramRanges', () => {
  it('has pieces that one ArrayBuffer can hold, and as many bytes as asked', () => {
    for (const memoryMiB of [32, 3072, 3073, 16384, 65536]) {
      const ranges = ramRanges(memoryMiB);
      assert.ok(ranges.every(({ byteLength }) => byteLength > 0 && byteLength <= 2 ** 32));
      const sum = ranges.reduce((total, { byteLength }) => total + byteLength, 0);
      assert.equal(sum, memoryMiB * MIB);
    }
  });

  it('refuses what is no size of a machine', () => {
    for (const wrong of [0, 31, 1.5, NaN, 2 ** 40]) {
      assert.throws(() => ramRanges(wrong), RangeError);
    }
  });
});

describe('writeCpuTables', () => {
  it('maps the first 4 GiB to themselves', () => {
    const memory = memoryOf(2 * MIB);
    writeCpuTables(memory);
    const word = (address: number) => {
      const bytes = bytesAt(memory, address, 8);
      return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
    };
    const next = (entry: bigint) => Number(entry & ~0xfffn);
    for (const address of [0, 0x1000000, 0xc0000000, 0xffe00000]) {
      const pointers = next(word(LAYOUT.pageTables));
      const directory = next(word(pointers + 8 * Math.floor(address / 2 ** 30)));
      const entry = word(directory + 8 * (Math.floor(address / 2 ** 21) % 512));
      assert.equal(next(entry), address);
      assert.equal(entry & 0x83n, 0x83n, 'present, writable, large');
    }
  });
});
