import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import zlib from 'node:zlib';

import { bzImage, elf } from '../../support/kernel-files.js';
import { inMemory, openImage } from '#lib/vmm/image-file';
import type { Content } from '#lib/vmm/image-file';
import { payloadOf, readBzImage, readVmlinux } from '#lib/vmm/kernel-image';
import { findSeen, noteSeen } from '#lib/vmm/seen-files';
import { openKernel } from '#lib/vmm/vmlinux';

const refusal = (pattern: RegExp) => ({ code: 'ERR_VHOST_KERNEL_IMAGE', message: pattern });
const SEGMENT = { address: 0x1000000, bytes: new Uint8Array(64).fill(1), memoryLength: 64 };
const SEGMENTS = [
  SEGMENT,
  { address: 0x1200000, bytes: new Uint8Array(32).fill(2), memoryLength: 0x5000 },
];

function bytesOf(content: Content | undefined): Uint8Array {
  const bytes = new Uint8Array(content?.byteLength ?? 0);
  content?.copyTo(bytes);
  return bytes;
}

describe('readBzImage', () => {
  it('finds the protected part, the 64-bit entry, and what the kernel will use', () => {
    const kernel = readBzImage(inMemory(bzImage()));
    assert.equal(kernel.entry, 0x100200);
    assert.equal(kernel.end, 0x1300000);
    assert.equal(kernel.segments[0]?.address, 0x100000);
    assert.equal(bytesOf(kernel.segments[0].content)[0], 0xc3);
    assert.equal(kernel.initrdMost, 0x7fffffff);
    assert.equal(kernel.commandLineMost, 2047);
  });

  it('keeps the header up to where it says that it ends', () => {
    assert.equal(readBzImage(inMemory(bzImage())).header.length, 0x202 + 0x6a - 0x1f1);
  });

  for (const [what, file, reason] of [
    ['a text', Buffer.from('#!/bin/sh\n'), /too short/],
    ['zeros', new Uint8Array(4096), /no boot flag/],
    ['a boot sector', bzImage({ magic: 0 }), /no setup header/],
    ['a kernel of 2010', bzImage({ version: 0x020a }), /protocol 20a is older/],
    ['a 32-bit kernel', bzImage({ xloadflags: 0 }), /no 64-bit entry/],
    ['a file that was cut off', bzImage().subarray(0, 1024), /ends before/],
  ] as const) {
    it(`refuses ${what} with the reason`, () => {
      assert.throws(() => readBzImage(inMemory(file)), refusal(reason));
    });
  }

  it('refuses a payload that the file does not hold', () => {
    assert.throws(
      () => payloadOf(inMemory(bzImage().subarray(0, -1))),
      refusal(/within its payload/),
    );
  });
});

describe('readVmlinux', () => {
  it('has the segments that are to be loaded, with what is zero behind them', () => {
    const kernel = readVmlinux(inMemory(elf(0x1000000, SEGMENTS)));
    assert.equal(kernel.entry, 0x1000000);
    assert.equal(kernel.end, 0x1205000);
    assert.deepEqual(
      kernel.segments.map(({ content, ...rest }) => ({ ...rest, bytes: bytesOf(content) })),
      SEGMENTS,
    );
  });

  it('takes limits and room from the bzImage that it was in', () => {
    const outer = inMemory(bzImage({ commandLineMost: 100, initLength: 0x4000000 }));
    const kernel = readVmlinux(inMemory(elf(0x1000000, SEGMENTS)), outer);
    assert.equal(kernel.commandLineMost, 100);
    assert.equal(kernel.end, 0x5000000);
  });

  for (const [what, file, reason] of [
    ['what is no ELF', new Uint8Array(100), /no ELF file/],
    ['one of another processor', elf(0, SEGMENTS, 183), /no ELF file of x86-64/],
    ['one without anything to load', elf(0, []), /nothing to load/],
    ['one that begins nowhere', elf(0x2000000, SEGMENTS), /not where a kernel has them/],
    ['a program', elf(0x1000, [{ ...SEGMENT, address: 0x1000 }]), /not where a kernel/],
    [
      'this very program',
      fs.readFileSync(process.execPath),
      /a program that needs a kernel|but no kernel/,
    ],
    ['one that was cut off', elf(0, SEGMENTS).subarray(0, -1), /within a segment/],
  ] as const) {
    it(`refuses ${what} with the reason`, () => {
      assert.throws(() => readVmlinux(inMemory(file)), refusal(reason));
    });
  }
});

describe('openKernel', () => {
  let folder: string;
  let file: string;
  const before = process.env['VHOST_NET_CACHE'];

  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vhost-net-kernel-'));
    file = path.join(folder, 'vmlinuz');
    process.env['VHOST_NET_CACHE'] = folder;
  });

  afterEach(() => {
    if (before === undefined) delete process.env['VHOST_NET_CACHE'];
    else process.env['VHOST_NET_CACHE'] = before;
    fs.rmSync(folder, { recursive: true, force: true });
  });

  /** Where the kernel of the file begins. */
  async function entry(): Promise<number> {
    const kernel = await openKernel(file);
    kernel.file.close();
    return kernel.image.entry;
  }

  it('leaves what is to be loaded in the file until it is, and says when that is not there', async () => {
    const elfFile = elf(0x1000000, SEGMENTS);
    fs.writeFileSync(file, elfFile);
    const kernel = await openKernel(file);
    const [first, second] = kernel.image.segments;
    assert.deepEqual(bytesOf(second?.content), SEGMENTS[1]?.bytes);
    assert.deepEqual(bytesOf(first?.content), SEGMENT.bytes);
    fs.truncateSync(file, elfFile.length - 1);
    assert.throws(() => bytesOf(second?.content), refusal(/vmlinuz is not what it was/));
    kernel.file.close();
    kernel.file.close();
  });

  it('reads a pipe when it is opened, for it can be read only once', async () => {
    const pipe = path.join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const [image] = await Promise.all([openImage(pipe), fs.promises.writeFile(pipe, 'kernel')]);
    assert.equal(Buffer.from(image.bytes(0, 100)).toString(), 'kernel');
    assert.deepEqual(Buffer.from(bytesOf(image.part(3, 3))).toString(), 'nel');
    image.close();
  });

  it('refuses what can not be read, and reads what does not say how long it is', async () => {
    await assert.rejects(openImage(folder), { code: 'EISDIR' });
    const image = await openImage('/proc/version');
    assert.equal(image.byteLength, fs.readFileSync('/proc/version').length);
    image.close();
  });

  it('boots no file that was written to since it was opened', async () => {
    fs.writeFileSync(file, elf(0x1000000, SEGMENTS));
    const kernel = await openKernel(file);
    const [first] = kernel.image.segments;
    fs.utimesSync(file, new Date(0), new Date(0));
    assert.throws(() => bytesOf(first?.content), refusal(/is not what it was/));
    kernel.file.close();
  });

  it('unpacks a bzImage once, and finds it again', async () => {
    fs.writeFileSync(
      file,
      bzImage({ payload: zlib.gzipSync(elf(0x1000000, SEGMENTS), { level: 1 }) }),
    );
    assert.equal(await entry(), 0x1000000);
    const [kept = ''] = fs.readdirSync(path.join(folder, 'vmlinux'));
    const copy = path.join(folder, 'vmlinux', kept);
    fs.writeFileSync(copy, elf(0x1000010, SEGMENTS));
    assert.equal(await entry(), 0x1000010);
  });

  it('keeps it without its zeros, unless segments overlap, or share what is in the file', async () => {
    const zeros = { address: 0x1200000, bytes: new Uint8Array(2 ** 20), memoryLength: 2 ** 20 };
    const [near, far] = [0x1201000, 0x1400000].map((address) => ({ ...zeros, address }));
    assert.ok(near && far);
    const shared = Buffer.from(elf(0x1000000, [SEGMENT, zeros, far]));
    shared.copy(shared, 64 + 2 * 56 + 8, 64 + 56 + 8, 64 + 56 + 16); // where in the file they are
    const sharing = shared.subarray(0, -zeros.bytes.length);
    const plain = [
      [SEGMENT, zeros],
      [SEGMENT, zeros, near],
    ].map((all) => elf(0x1000000, all));
    const kept: number[] = [];
    for (const kernel of [...plain, sharing]) {
      fs.writeFileSync(file, bzImage({ payload: zlib.gzipSync(kernel, { level: 1 }) }));
      await entry();
      const [name = ''] = fs.readdirSync(path.join(folder, 'vmlinux'));
      kept.push(fs.statSync(path.join(folder, 'vmlinux', name)).size);
      fs.rmSync(path.join(folder, 'vmlinux'), { recursive: true });
    }
    const [compact = 0, ...whole] = kept;
    assert.ok(compact < 20_000, String(compact));
    assert.deepEqual(whole, [plain[1]?.length, sharing.length]);
  });

  it('boots what can not be made compact', async () => {
    const strange = elf(0x1000000, [SEGMENT, { ...SEGMENT, address: 0x1200000 }]);
    const view = new DataView(strange.buffer);
    view.setBigUint64(64 + 56 + 40, 2n ** 64n - 1n, true);
    fs.writeFileSync(file, bzImage({ payload: zlib.gzipSync(strange) }));
    assert.equal(await entry(), 0x1000000);
  });

  describe('of a bzImage that has not changed for some time', () => {
    const now = Date.now;
    const packed = (at: number) =>
      bzImage({ payload: zlib.gzipSync(elf(at, SEGMENTS), { level: 0 }) });
    const seen = () =>
      fs.readdirSync(path.join(folder, 'vmlinux')).filter((name) => name.startsWith('seen-'));

    beforeEach(() => {
      Date.now = () => now() + 10_000;
      fs.writeFileSync(file, packed(0x1000000));
    });
    afterEach(() => {
      Date.now = now;
    });

    it('finds the kernel again without reading the whole file', async () => {
      assert.equal(await entry(), 0x1000000);
      const [link = ''] = seen();
      const place = path.join(folder, 'vmlinux', link);
      fs.rmSync(place);
      fs.writeFileSync(place, elf(0x1000010, SEGMENTS)); // not where the file's content says
      assert.equal(await entry(), 0x1000010);
    });

    it('looks at the file anew when it was written to, also when it pretends that it was not', async () => {
      const pretend = () => {
        fs.utimesSync(file, 1e9, 1e9);
        return fs.statSync(file, { bigint: true });
      };
      const before = pretend();
      await entry();
      let after;
      do {
        fs.writeFileSync(file, packed(0x1000010));
        after = pretend();
      } while (after.ctimeNs === before.ctimeNs); // the clock goes by steps
      assert.deepEqual([after.size, after.mtimeNs], [before.size, before.mtimeNs]);
      assert.equal(await entry(), 0x1000010);
      assert.equal(seen().length, 1, 'what was noted before is gone');
    });

    it('unpacks again where the kernel that was found is gone', async () => {
      await entry();
      const [link = ''] = seen();
      fs.rmSync(fs.realpathSync(path.join(folder, 'vmlinux', link)));
      assert.equal(await entry(), 0x1000000);
      assert.equal(await entry(), 0x1000000);
    });

    it('trusts nothing of a file on another file system, which may be made for it', async () => {
      await entry();
      const [link = ''] = seen();
      const place = path.join(folder, 'vmlinux', link);
      fs.rmSync(place);
      fs.symlinkSync('/proc/version', place); // stands for what is kept elsewhere
      const image = await openImage(file);
      const found = await findSeen(path.join(folder, 'vmlinux'), image);
      image.close();
      assert.equal(found, undefined);
    });

    it('notes nothing of a file that was written to while it was read', async () => {
      const image = await openImage(file);
      const before = image.identify?.();
      assert.ok(before);
      const kept = path.join(folder, 'kept');
      fs.writeFileSync(kept, '');
      await noteSeen(image, { ...before, version: 'another' }, kept);
      assert.deepEqual(fs.readdirSync(folder).sort(), ['kept', 'vmlinuz']);
      await noteSeen(image, before, kept);
      image.close();
      assert.equal(fs.readdirSync(folder).length, 3);
    });

    it('remembers nothing of a file that has changed just now', async () => {
      Date.now = now;
      await entry();
      assert.deepEqual(seen(), []);
    });
  });

  it('unpacks again where what was kept is damaged', async () => {
    const kernel = elf(0x1000000, SEGMENTS);
    fs.writeFileSync(file, bzImage({ payload: zlib.gzipSync(kernel, { level: 1 }) }));
    await entry();
    const [kept = ''] = fs.readdirSync(path.join(folder, 'vmlinux'));
    const copy = path.join(folder, 'vmlinux', kept);
    const whole = fs.readFileSync(copy);
    for (const damaged of ['', new Uint8Array(whole.length), whole.subarray(0, whole.length / 2)]) {
      fs.writeFileSync(copy, damaged);
      assert.equal(await entry(), 0x1000000);
      assert.deepEqual(fs.readFileSync(copy), whole);
    }
  });

  it('boots as it is what it can not unpack', async () => {
    fs.writeFileSync(file, bzImage());
    assert.equal(await entry(), 0x100200);
    assert.deepEqual(fs.readdirSync(folder), ['vmlinuz']);
  });

  it('unpacks although nothing can be kept', async () => {
    process.env['VHOST_NET_CACHE'] = '/dev/null';
    fs.writeFileSync(file, bzImage({ payload: zlib.gzipSync(elf(0x1000000, SEGMENTS)) }));
    assert.equal(await entry(), 0x1000000);
  });

  it('takes an ELF file as it is', async () => {
    fs.writeFileSync(file, elf(0x1000000, SEGMENTS));
    assert.equal(await entry(), 0x1000000);
  });
});
