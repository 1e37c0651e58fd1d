import assert from 'node:assert/strict';

import fc from 'fast-check';

import { slowSum, unfinishedFrame } from '../../support/unfinished-frames.js';
import {
  addSums,
  completeChecksum,
  pseudoHeader4,
  pseudoHeader6,
  replaceWord,
  sumBytes,
  toChecksum,
  updateChecksum,
} from '#lib/offload/checksum';
import { PLAIN_HEADER } from '#lib/ring/net-header';

/** Bytes that no two places of a test have in common. */
function noise(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 167 + (i >> 8) * 13 + 201) & 0xff);
}

describe('sumBytes()', () => {
  it('is that of the example of RFC 1071 §3', () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    assert.equal(sumBytes(bytes), 0xddf2);
    assert.equal(toChecksum(sumBytes(bytes)), 0x220d);
  });

  it('adds the groups of that example however they are cut, bytes swapped behind an odd one', () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    assert.equal(addSums(sumBytes(bytes, 0, 4), sumBytes(bytes, 4)), 0xddf2);
    assert.equal(sumBytes(bytes, 0, 3), 0xf201);
    assert.equal(sumBytes(bytes, 3), 0xf0eb);
    assert.equal(addSums(0xf201, 0xebf0), 0xddf2);
  });

  it('is 0 of nothing and of zeros alone', () => {
    assert.equal(sumBytes(new Uint8Array(0)), 0);
    assert.equal(sumBytes(new Uint8Array(1000)), 0);
    assert.equal(sumBytes(new Uint8Array(1000).fill(0xff)), 0xffff);
  });

  it('equals the plain one at every offset and length', () => {
    const bytes = noise(420);
    for (let start = 0; start < 9; start++) {
      for (let end = start; end <= bytes.length; end++) {
        const expected = slowSum(bytes.subarray(start, end));
        assert.equal(sumBytes(bytes, start, end), expected, `${String(start)} to ${String(end)}`);
      }
    }
  });

  it('equals the plain one for any bytes, in a view anywhere in its buffer', () => {
    const ranges = fc.tuple(fc.nat(9), fc.nat(9), fc.nat(9));
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 18, maxLength: 3000 }), ranges, (all, [a, b, c]) => {
        const bytes = all.subarray(a);
        const end = Math.max(b, bytes.length - c);
        assert.equal(sumBytes(bytes, b, end), slowSum(bytes.subarray(b, end)));
      }),
    );
  });

  it('keeps every carry, also of more bytes than a double could add up', () => {
    const words = new Uint32Array(10 << 20).fill(0xffff_ffff);
    // Odd sums, which a double beyond 2^53 rounds.
    for (let i = 0; i < words.length; i += 2) words[i] = 0xffff_0000;
    assert.equal(sumBytes(new Uint8Array(words.buffer)), 0xffff);
    words[7] = 0xffff_00ff;
    assert.equal(sumBytes(new Uint8Array(words.buffer)), 0xff00);
  });

  it('refuses what does not lie within the bytes', () => {
    const bytes = new Uint8Array(10);
    assert.throws(() => sumBytes(bytes, 0, 11), RangeError);
    assert.throws(() => sumBytes(bytes, -1), RangeError);
    assert.throws(() => sumBytes(bytes, 6, 5), RangeError);
    assert.throws(() => sumBytes(bytes, NaN), RangeError);
  });
});

describe('updateChecksum()', () => {
  it('is right where the first formula for it was wrong: the example of RFC 1624 §4', () => {
    assert.equal(updateChecksum(0xdd2f, 0x5555, 0x3285), 0x0000);
  });

  it('gives what summing all of it again gives', () => {
    const words = fc.uint8Array({ minLength: 12, maxLength: 40 });
    fc.assert(
      fc.property(words, fc.nat(0xffff), fc.nat(4), (bytes, word, index) => {
        // A header is never all zeros: there the two would differ in the sign of 0.
        bytes[10] = 0x45;
        bytes[8] = bytes[9] = 0;
        const at = 2 * (index % 4);
        const checksum = ~slowSum(bytes);
        bytes.set([(checksum >> 8) & 0xff, checksum & 0xff], 8);
        replaceWord(bytes, at, word, 8);
        assert.equal(((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0), word);
        assert.equal(slowSum(bytes), 0xffff);
      }),
    );
  });
});

describe('pseudoHeader4() and pseudoHeader6()', () => {
  it('are the sums that a sender leaves in an unfinished frame', () => {
    for (const version of [4, 6] as const) {
      for (const transport of ['tcp', 'udp'] as const) {
        const payload = noise(4000);
        const { bytes, header, at } = unfinishedFrame({ payload, gsoSize: 1, version, transport });
        const field = header.csumStart + header.csumOffset;
        const sum = version === 4 ? pseudoHeader4 : pseudoHeader6;
        const length = bytes.length - at.transport;
        const found = sum(bytes, at.ip, transport === 'tcp' ? 6 : 17, length);
        assert.equal(found, ((bytes[field] ?? 0) << 8) | (bytes[field + 1] ?? 0));
      }
    }
  });

  it('counts a length of more than 16 bits', () => {
    const packet = new Uint8Array(40);
    assert.equal(pseudoHeader6(packet, 0, 6, 0x2_0003), 2 + 3 + 6);
  });
});

describe('completeChecksum()', () => {
  // From 10.9.0.1 port 53 to 10.9.0.2 port 50000, "abc".
  const query = {
    payload: Uint8Array.of(0x61, 0x62, 0x63),
    gsoSize: 0,
    transport: 'udp',
  } as const;

  it('fills in what a frame worked out by hand has', () => {
    const { bytes, header, at } = unfinishedFrame(query);
    completeChecksum(bytes, { ...header, gsoType: 0 });
    // 0a09+0001+0a09+0002+0011+000b = 1431; +0035+c350+000b+6162+6300 = 19c23; 9c24; its complement
    assert.deepEqual([...bytes.subarray(at.transport + 6, at.payload)], [0x63, 0xdb]);
  });

  it('makes every frame verify, and touches nothing else', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 1472 }),
        fc.constantFrom('tcp', 'udp'),
        fc.constantFrom(4, 6),
        (payload, transport, version) => {
          const frame = unfinishedFrame({ payload, gsoSize: 0, transport, version });
          const { bytes, header, at } = frame;
          const field = header.csumStart + header.csumOffset;
          const pseudoHeader = slowSum(bytes.subarray(field, field + 2));
          const before = bytes.slice();
          completeChecksum(bytes, { ...header, gsoType: 0 });
          const sum = slowSum(bytes.subarray(at.transport)) + pseudoHeader;
          assert.equal(sum % 0xffff, 0);
          before.set(bytes.subarray(field, field + 2), field);
          assert.deepEqual(bytes, before);
        },
      ),
    );
  });

  it('writes 0xffff for 0, which to UDP means that there is none', () => {
    const bytes = Uint8Array.of(0, 0, 0xab, 0xcd, 0x54, 0x32);
    completeChecksum(bytes, { ...PLAIN_HEADER, flags: 1 });
    assert.deepEqual([...bytes.subarray(0, 2)], [0xff, 0xff]);
  });

  it('leaves a frame alone that is complete', () => {
    const bytes = noise(60);
    completeChecksum(bytes, PLAIN_HEADER);
    assert.deepEqual(bytes, noise(60));
  });

  it('refuses a checksum outside the frame, and a frame that must be cut', () => {
    const { bytes, header } = unfinishedFrame({ ...query, gsoSize: 1 });
    const before = bytes.slice();
    const outside = { ...header, gsoType: 0, csumOffset: bytes.length - header.csumStart - 1 };
    assert.throws(() => completeChecksum(bytes, outside), RangeError);
    assert.throws(() => completeChecksum(bytes, header), RangeError);
    assert.deepEqual(bytes, before);
  });
});
