import assert from 'node:assert/strict';

import fc from 'fast-check';

import { elf } from '../../support/kernel-files.js';
import type { ElfSegment } from '../../support/kernel-files.js';
import { GuestMemory } from '#lib/memory/guest-memory';
import { compactKernel } from '#lib/vmm/compact-kernel';
import { inMemory } from '#lib/vmm/image-file';
import { readVmlinux } from '#lib/vmm/kernel-image';
import { loadLinux } from '#lib/vmm/linux-boot';

const KIB = 1024;
const BASE = 0x1000000;

/** What memory has of a kernel that was loaded into it. */
function loaded(file: Uint8Array): {
  memory: Uint8Array;
  read: number;
  entry: number;
  end: number;
} {
  const { segments, entry, end } = readVmlinux(inMemory(file));
  const memory = new Uint8Array(end - BASE);
  let read = 0;
  for (const { address, content } of segments) {
    content.copyTo(memory.subarray(address - BASE, address - BASE + content.byteLength));
    read += content.byteLength;
  }
  return { memory, read, entry, end };
}

/** Bytes in stretches that are zero or not. */
const stretches = fc.array(fc.tuple(fc.constantFrom(0, 0, 1, 255), fc.nat(200 * KIB)), {
  minLength: 1,
  maxLength: 8,
});

const segmentAt = (address: number, parts: [byte: number, length: number][], behind: number) => {
  const bytes = Buffer.concat(parts.map(([byte, length]) => Buffer.alloc(length, byte)));
  return { address, bytes, memoryLength: bytes.length + behind };
};

/** A kernel with what nobody loads behind it: one that would only become longer stays as it is. */
const withRest = (segments: readonly ElfSegment[]) =>
  Buffer.concat([elf(BASE, segments), Buffer.alloc(100 * KIB, 7)]);

describe('compactKernel', () => {
  it('makes a kernel that loads the same, whatever is zero in it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(stretches, fc.nat(100 * KIB)), { minLength: 1, maxLength: 3 }),
        (all) => {
          let at = BASE;
          const segments: ElfSegment[] = [];
          for (const [parts, behind] of all) {
            segments.push(segmentAt(at, parts, behind + 1));
            at += segments.at(-1)?.memoryLength ?? 0;
          }
          const whole = withRest(segments);
          const before = loaded(whole);
          const compact = compactKernel(whole);
          const after = loaded(compact);
          assert.ok(Buffer.from(before.memory.buffer).equals(Buffer.from(after.memory.buffer)));
          assert.deepEqual([after.entry, after.end], [before.entry, before.end]);
          assert.ok(compact.length < whole.length && after.read <= before.read);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('loads as it did into memory that is not zero', () => {
    const parts: [number, number][] = [
      [0, 100 * KIB],
      [1, 8 * KIB],
      [0, 300 * KIB],
      [2, 4 * KIB],
    ];
    const whole = elf(BASE, [segmentAt(BASE, parts, 300 * KIB)]);
    const [before, after] = [whole, compactKernel(whole)].map((file) => {
      const buffer = new ArrayBuffer(20 * KIB * KIB);
      const byteLength = buffer.byteLength;
      new Uint8Array(buffer).fill(9);
      const memory = new GuestMemory([{ guestAddress: 0, hostAddress: 0n, byteLength, buffer }]);
      loadLinux(memory, { kernel: readVmlinux(inMemory(file)), commandLine: '' });
      return Buffer.from(buffer);
    });
    assert.ok(before && after?.equals(before));
  });

  it('leaves out zeros at the beginning, in the middle and at the end, and what nobody loads', () => {
    const parts: [number, number][] = [
      [0, 300 * KIB],
      [1, 8 * KIB],
      [0, 300 * KIB],
      [2, 4 * KIB],
      [0, 300 * KIB],
    ];
    const compact = compactKernel(withRest([segmentAt(BASE, parts, 0)]));
    assert.equal(loaded(compact).read, 12 * KIB);
    assert.ok(compact.length < 20 * KIB, String(compact.length));
  });

  it('leaves short runs of zeros where they are', () => {
    const parts: [number, number][] = [
      [1, 4 * KIB],
      [0, 60 * KIB],
      [1, 4 * KIB],
    ];
    const compact = compactKernel(withRest([segmentAt(BASE, parts, 0)]));
    assert.ok(compact.length < 100 * KIB, String(compact.length));
    assert.equal(readVmlinux(inMemory(compact)).segments.length, 1);
  });

  it('keeps notes, in which other boot loaders find where to begin', () => {
    const whole = Buffer.from(elf(BASE, [segmentAt(BASE, [[1, 64]], 0)]));
    const note = Buffer.from('a note');
    const row = 64 + 56; // the second program header, of no length
    whole.writeBigUInt64LE(BigInt(whole.length), row + 8);
    whole.writeBigUInt64LE(BigInt(note.length), row + 32);
    const rest = Buffer.alloc(100 * KIB);
    const compact = Buffer.from(compactKernel(Buffer.concat([whole, note, rest])));
    const at = Number(compact.readBigUInt64LE(row + 8));
    assert.equal(compact.readUInt32LE(row), 4);
    assert.equal(compact.toString('latin1', at, at + note.length), 'a note');
  });

  it('takes addresses to the end of what there is', () => {
    const whole = Buffer.from(
      elf(BASE, [
        segmentAt(
          BASE,
          [
            [0, 100 * KIB],
            [1, 1],
          ],
          0,
        ),
      ]),
    );
    whole.writeBigUInt64LE(2n ** 64n - 1n, 64 + 16);
    assert.equal(loaded(compactKernel(whole)).read, 1);
  });
});
