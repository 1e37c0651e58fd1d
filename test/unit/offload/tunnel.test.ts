import assert from 'node:assert/strict';

import fc from 'fast-check';

import { slowSum, tunnelled, unfinishedFrame } from '../../support/unfinished-frames.js';
import type { FrameParts, TunnelParts, UnfinishedFrame } from '../../support/unfinished-frames.js';
import { segment } from '#lib/offload/segment';
import type { NetHeader } from '#lib/ring/net-header';

const VLAN = [0x81, 0x00, 0x20, 0x05];
/** Geneve, network 42, with an option of four bytes. */
const GENEVE = [0x02, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 0x80, 1, 9, 9, 9, 9];

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
}

function copies(bytes: Uint8Array, header: NetHeader): Uint8Array[] {
  return Array.from(segment(bytes, header), (piece) => piece.slice());
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

interface Tunnelled {
  readonly inner: UnfinishedFrame;
  readonly outer: UnfinishedFrame;
  readonly parts: FrameParts;
  readonly tunnel: TunnelParts;
}

const anyInner: fc.Arbitrary<FrameParts> = fc
  .record({
    payload: fc.uint8Array({ minLength: 10, maxLength: 6000 }),
    gsoSize: fc.integer({ min: 1, max: 3000 }),
    transport: fc.constantFrom('tcp', 'udp'),
    version: fc.constantFrom(4, 6),
    tags: fc.constantFrom([], VLAN),
    options: fc.constantFrom([], [7, 4, 0, 0]),
    tcpOptions: fc.constantFrom([], [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
    id: fc.nat(0xffff),
    sequence: fc.nat(0xffff_ffff),
  })
  .map((parts) => {
    const { length } = parts.payload;
    // More than one segment, and not more than a kernel cuts.
    return { ...parts, gsoSize: Math.max(Math.min(parts.gsoSize, length - 1), length >> 6, 1) };
  });

const anyTunnel: fc.Arbitrary<TunnelParts> = fc.record({
  version: fc.constantFrom(4, 6),
  checksum: fc.boolean(),
  tags: fc.constantFrom([], VLAN),
  header: fc.constantFrom([8, 0, 0, 0, 0, 0, 42, 0], GENEVE),
  id: fc.nat(0xffff),
});

const anyTunnelled: fc.Arbitrary<Tunnelled> = fc
  .tuple(anyInner, anyTunnel)
  .map(([parts, tunnel]) => {
    const inner = unfinishedFrame(parts);
    return { inner, outer: tunnelled(inner, tunnel), parts, tunnel };
  });

/** That lengths, identification and checksums around a piece are right, by plain means. */
function verifyOuter(piece: Uint8Array, index: number, { outer, tunnel }: Tunnelled): void {
  const { outerThOffset: udp = 0 } = outer.header;
  const ip = 14 + (tunnel.tags?.length ?? 0);
  const length = piece.length - udp;
  const isOver4 = tunnel.version === 4;
  const addresses = isOver4 ? piece.subarray(ip + 12, ip + 20) : piece.subarray(ip + 8, ip + 40);
  if (isOver4) {
    assert.equal(word(piece, ip + 2), piece.length - ip);
    assert.equal(word(piece, ip + 4), ((tunnel.id ?? 0) + index) & 0xffff);
    assert.equal(slowSum(piece.subarray(ip, udp)), 0xffff);
  } else {
    assert.equal(word(piece, ip + 4), piece.length - ip - 40);
  }
  assert.equal(word(piece, udp + 4), length);
  if (tunnel.checksum !== true) {
    assert.equal(word(piece, udp + 6), 0, 'there is no checksum, and that stays so');
    return;
  }
  assert.notEqual(word(piece, udp + 6), 0);
  const pseudoHeader = [...addresses, 0, 17, length >> 8, length & 0xff];
  assert.equal(slowSum([...pseudoHeader, ...piece.subarray(udp)]), 0xffff);
}

describe('segment() inside a UDP tunnel', () => {
  // Every number in these two was worked out apart from the code.
  it('cuts TCP over IPv4 in VXLAN over IPv4, and fills in both checksums of each', () => {
    const frame = bytesOf(`
      020000000001 020000000002 0800
      4500 006e 00ff 4000 40 11 b57c c0000201 c0000202
      9c40 12b5 005a 846f 0800000000002a00
      0a0000000001 0a0000000002 0800
      4500 003c ffff 4000 40 06 26a8 0a090001 0a090002
      0050 c350 fffffffe 00000007 50 d9 0200 1443 0000
      6162636465666768 696a6b6c6d6e6f70 71727374`);
    const header = {
      flags: 9,
      gsoType: 0xa1,
      hdrLen: 104,
      gsoSize: 8,
      csumStart: 84,
      csumOffset: 16,
      outerThOffset: 34,
      innerNhOffset: 64,
    };
    assert.deepEqual(copies(frame, header), [
      bytesOf(`
        020000000001 020000000002 0800
        4500 0062 00ff 4000 40 11 b588 c0000201 c0000202
        9c40 12b5 004e 928c 0800000000002a00
        0a0000000001 0a0000000002 0800
        4500 0030 ffff 4000 40 06 26b4 0a090001 0a090002
        0050 c350 fffffffe 00000007 50 d0 0200 43bc 0000
        6162636465666768`),
      bytesOf(`
        020000000001 020000000002 0800
        4500 0062 0100 4000 40 11 b587 c0000201 c0000202
        9c40 12b5 004e 928c 0800000000002a00
        0a0000000001 0a0000000002 0800
        4500 0030 0000 4000 40 06 26b4 0a090001 0a090002
        0050 c350 00000006 00000007 50 50 0200 2415 0000
        696a6b6c6d6e6f70`),
      bytesOf(`
        020000000001 020000000002 0800
        4500 005e 0101 4000 40 11 b58a c0000201 c0000202
        9c40 12b5 004a 9290 0800000000002a00
        0a0000000001 0a0000000002 0800
        4500 002c 0001 4000 40 06 26b7 0a090001 0a090002
        0050 c350 0000000e 00000007 50 59 0200 f0d6 0000
        71727374`),
    ]);
  });

  it('cuts UDP over IPv6 in Geneve over IPv6, and leaves an outer checksum away that is not there', () => {
    const frame = bytesOf(`
      020000000001 020000000002 86dd
      60000000 0055 11 40 fd00000000000000000000000000000a fd00000000000000000000000000000b
      9c40 17c1 0055 0000 0100655800002a00 01028000
      0a0000000001 0a0000000002 86dd
      60000000 000b 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002
      0035 c350 000b fa20 6162 63`);
    const header = {
      flags: 1,
      gsoType: 0x45,
      hdrLen: 136,
      gsoSize: 2,
      csumStart: 128,
      csumOffset: 6,
      outerThOffset: 54,
      innerNhOffset: 88,
    };
    assert.deepEqual(copies(frame, header), [
      bytesOf(`
        020000000001 020000000002 86dd
        60000000 0054 11 40 fd00000000000000000000000000000a fd00000000000000000000000000000b
        9c40 17c1 0054 0000 0100655800002a00 01028000
        0a0000000001 0a0000000002 86dd
        60000000 000a 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002
        0035 c350 000a e0ed 6162`),
      bytesOf(`
        020000000001 020000000002 86dd
        60000000 0053 11 40 fd00000000000000000000000000000a fd00000000000000000000000000000b
        9c40 17c1 0053 0000 0100655800002a00 01028000
        0a0000000001 0a0000000002 86dd
        60000000 0009 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002
        0035 c350 0009 df51 63`),
    ]);
  });

  it('makes inside what it makes of the inner frame alone, and outside what verifies', () => {
    fc.assert(
      fc.property(anyTunnelled, (one) => {
        const { inner, outer } = one;
        const before = outer.bytes.slice();
        const pieces = copies(outer.bytes, outer.header);
        const wanted = copies(inner.bytes, inner.header);
        const shift = outer.at.ip - inner.at.ip;
        assert.deepEqual(
          pieces.map((piece) => piece.slice(shift)),
          wanted,
        );
        for (const [i, piece] of pieces.entries()) verifyOuter(piece, i, one);
        assert.deepEqual(outer.bytes, before);
      }),
    );
  });

  it('repeats every outer field that has no reason to differ', () => {
    fc.assert(
      fc.property(anyTunnelled, ({ inner, outer, tunnel }) => {
        const shift = outer.at.ip - inner.at.ip;
        const { outerThOffset: udp = 0 } = outer.header;
        const ip = 14 + (tunnel.tags?.length ?? 0);
        const changed = tunnel.version === 4 ? [ip + 2, ip + 4, ip + 10] : [ip + 4];
        for (const piece of copies(outer.bytes, outer.header)) {
          const restored = piece.slice(0, shift);
          for (const field of [...changed, udp + 4, udp + 6]) {
            restored.set(outer.bytes.subarray(field, field + 2), field);
          }
          assert.deepEqual(restored, outer.bytes.slice(0, shift));
        }
      }),
    );
  });

  it('fills in an outer checksum also where only the frame says that there is one', () => {
    const tunnel = { checksum: true };
    const inner = unfinishedFrame({ payload: new Uint8Array(3000), gsoSize: 1000 });
    const { bytes, header } = tunnelled(inner, tunnel);
    assert.deepEqual(copies(bytes, { ...header, flags: 1 }), copies(bytes, header));
  });
});

describe('segment() of what no tunnel is around', () => {
  const payload = new Uint8Array(3000);
  const inner = unfinishedFrame({ payload, gsoSize: 1000 });
  const over4 = tunnelled(inner);
  const over6 = tunnelled(inner, { version: 6 });

  function changed({ bytes }: UnfinishedFrame, at: number, ...values: number[]): Uint8Array {
    const copy = bytes.slice();
    copy.set(values, at);
    return copy;
  }

  const header = (change: Partial<NetHeader>) => ({ ...over4.header, ...change });
  const cases: readonly (readonly [why: string, bytes: Uint8Array, header: NetHeader])[] = [
    ['a header of another outer IP version', over4.bytes, { ...over6.header }],
    ['a header of another outer IP version', over6.bytes, header({ gsoType: 0x21 })],
    ['no outer IP packet', changed(over4, 12, 0x08, 0x06), over4.header],
    ['TCP outside', changed(over4, 23, 6), over4.header],
    ['an outer fragment', changed(over4, 20, 0x20, 0), over4.header],
    ['an outer IPv4 length short of the frame', changed(over4, 16, 0, 80), over4.header],
    ['an outer IPv6 length beyond the frame', changed(over6, 18, 0xff), over6.header],
    ['an outer UDP length short of the frame', changed(over4, 38, 0, 80), over4.header],
    ['an outerThOffset elsewhere', over4.bytes, header({ outerThOffset: 35 })],
    ['an innerNhOffset elsewhere', over4.bytes, header({ innerNhOffset: 62 })],
    ['a csumStart elsewhere', over4.bytes, header({ csumStart: 85 })],
    ['an inner IPv4 length short of the frame', changed(over4, 66, 0, 80), over4.header],
    ['an inner IP header of another version', changed(over4, 64, 0x65), over4.header],
    ['an inner packet of another type', over4.bytes, header({ gsoType: 0x24 })],
    ['SYN inside', changed(over4, 97, 0x12), over4.header],
  ];
  for (const [why, bytes, unfit] of cases) {
    it(`refuses ${why}, type ${String(unfit.gsoType)}`, () => {
      assert.throws(() => segment(bytes, unfit), RangeError);
    });
  }

  it('either refuses a spoilt frame, or makes frames of it whose lengths fit', () => {
    const spoilt = fc.array(fc.tuple(fc.nat(103), fc.nat(255)), { minLength: 1, maxLength: 4 });
    let cut = 0;
    fc.assert(
      fc.property(fc.constantFrom(over4, over6), spoilt, (frame, changes) => {
        const bytes = frame.bytes.slice();
        for (const [at, value] of changes) bytes[at] = value;
        try {
          for (const piece of segment(bytes, frame.header)) {
            const udp = frame.header.outerThOffset ?? 0;
            assert.equal(word(piece, udp + 4), piece.length - udp);
          }
          cut++;
        } catch (error) {
          assert.ok(error instanceof RangeError);
        }
      }),
      { numRuns: 1000 },
    );
    assert.ok(cut > 0);
  });
});
