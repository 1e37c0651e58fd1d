import assert from 'node:assert/strict';

import fc from 'fast-check';

import { slowSum, unfinishedFrame } from '../../support/unfinished-frames.js';
import type { FrameParts, UnfinishedFrame } from '../../support/unfinished-frames.js';
import { segment } from '#lib/offload/segment';
import type { NetHeader } from '#lib/ring/net-header';

const FIN = 0x01;
const PSH = 0x08;
const ACK = 0x10;
const ECE = 0x40;
const CWR = 0x80;

const VLAN = [0x81, 0x00, 0x20, 0x05];
/** Hop-by-hop options, destination options, a routing header that is used up. */
const EXTENSIONS = (protocol: number) => ({
  first: 0,
  bytes: [
    ...[60, 0, 1, 4, 0, 0, 0, 0],
    ...[43, 1, 1, 12, ...new Array<number>(12).fill(0)],
    ...[protocol, 2, 4, 0, ...new Array<number>(20).fill(7)],
  ],
});

function copies(frame: UnfinishedFrame): Uint8Array[] {
  return Array.from(segment(frame.bytes, frame.header), (piece) => piece.slice());
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function long(bytes: Uint8Array, at: number): number {
  return word(bytes, at) * 65536 + word(bytes, at + 2);
}

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
}

/** That all lengths and checksums of a complete frame are right, by plain means. */
function verify(piece: Uint8Array, { version = 4, transport = 'tcp' }: FrameParts, at: At): void {
  const { ip, transport: l4 } = at;
  const addresses =
    version === 4 ? piece.subarray(ip + 12, ip + 20) : piece.subarray(ip + 8, ip + 40);
  const length = piece.length - l4;
  if (version === 4) {
    assert.equal(word(piece, ip + 2), piece.length - ip);
    assert.equal(slowSum(piece.subarray(ip, l4)), 0xffff);
  } else {
    assert.equal(word(piece, ip + 4), piece.length - ip - 40);
  }
  if (transport === 'udp') {
    assert.equal(word(piece, l4 + 4), length);
    assert.notEqual(word(piece, l4 + 6), 0);
  }
  const pseudoHeader = [...addresses, 0, transport === 'tcp' ? 6 : 17, length >> 8, length & 0xff];
  assert.equal(slowSum([...pseudoHeader, ...piece.subarray(l4)]), 0xffff);
}

type At = UnfinishedFrame['at'];

const anyParts: fc.Arbitrary<FrameParts> = fc
  .record({
    payload: fc.uint8Array({ maxLength: 6000 }),
    gsoSize: fc.integer({ min: 1, max: 3000 }),
    transport: fc.constantFrom('tcp', 'udp'),
    version: fc.constantFrom(4, 6),
    tags: fc.constantFrom([], VLAN, [0x88, 0xa8, 0, 7, ...VLAN]),
    options: fc.constantFrom([], [7, 4, 0, 0], new Array<number>(40).fill(1)),
    extended: fc.boolean(),
    tcpOptions: fc.constantFrom([], [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
    flags: fc.constantFrom(ACK, ACK | PSH, ACK | PSH | FIN, ACK | CWR | ECE | PSH),
    id: fc.nat(0xffff),
    sequence: fc.nat(0xffff_ffff),
  })
  .map(({ extended, ...parts }) => ({
    ...parts,
    gsoSize: Math.max(parts.gsoSize, parts.payload.length >> 6, 1),
    ...(extended ? { extensions: EXTENSIONS(parts.transport === 'tcp' ? 6 : 17) } : {}),
  }));

describe('segment()', () => {
  // Every number in these two was worked out apart from the code.
  it('cuts a TCP segment over IPv4', () => {
    const frame = {
      bytes: bytesOf(`
        020000000001 020000000002 8100 2005 0800
        4500 002d ffff 4000 40 06 0000 0a090001 0a090002
        0050 c350 fffffffe 00000007 50 d9 0200 0000 0000
        6162 6364 65`),
      header: { flags: 1, gsoType: 0x81, hdrLen: 58, gsoSize: 2, csumStart: 38, csumOffset: 16 },
      at: { ip: 18, transport: 38, payload: 58 },
    };
    assert.deepEqual(copies(frame), [
      bytesOf(`
        020000000001 020000000002 8100 2005 0800
        4500 002a ffff 4000 40 06 26ba 0a090001 0a090002
        0050 c350 fffffffe 00000007 50 d0 0200 73f5 0000
        6162`),
      bytesOf(`
        020000000001 020000000002 8100 2005 0800
        4500 002a 0000 4000 40 06 26ba 0a090001 0a090002
        0050 c350 00000000 00000007 50 50 0200 7272 0000
        6364`),
      bytesOf(`
        020000000001 020000000002 8100 2005 0800
        4500 0029 0001 4000 40 06 26ba 0a090001 0a090002
        0050 c350 00000002 00000007 50 59 0200 70cc 0000
        65`),
    ]);
  });

  it('cuts UDP datagrams over IPv6', () => {
    const frame = {
      bytes: bytesOf(`
        020000000001 020000000002 86dd
        60000000 000b 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002
        0035 c350 000b 0000 6162 63`),
      header: { flags: 1, gsoType: 5, hdrLen: 62, gsoSize: 2, csumStart: 54, csumOffset: 6 },
      at: { ip: 14, transport: 54, payload: 62 },
    };
    assert.deepEqual(copies(frame), [
      bytesOf(`
        020000000001 020000000002 86dd
        60000000 000a 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002
        0035 c350 000a e0ed 6162`),
      bytesOf(`
        020000000001 020000000002 86dd
        60000000 0009 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002
        0035 c350 0009 df51 63`),
    ]);
  });

  it('makes frames that verify, and whose payloads are the payload', () => {
    fc.assert(
      fc.property(anyParts, (parts) => {
        const frame = unfinishedFrame(parts);
        const before = frame.bytes.slice();
        const { at } = frame;
        const headers = at.payload;
        const cut = segment(frame.bytes, frame.header);
        const pieces = copies(frame);
        assert.equal(pieces.length, cut.count);
        assert.equal(pieces.length, Math.max(1, Math.ceil(parts.payload.length / parts.gsoSize)));
        for (const [i, piece] of pieces.entries()) {
          const last = i === pieces.length - 1;
          assert.equal(piece.length, last ? cut.lastLength : cut.length);
          assert.ok(last || piece.length === headers + parts.gsoSize);
          verify(piece, parts, at);
        }
        assert.deepEqual(
          Buffer.concat(pieces.map((piece) => piece.subarray(headers))),
          Buffer.from(parts.payload),
        );
        assert.deepEqual(frame.bytes, before);
      }),
    );
  });

  it('repeats every header field that has no reason to differ', () => {
    fc.assert(
      fc.property(anyParts, (parts) => {
        const frame = unfinishedFrame(parts);
        const { ip, transport, payload } = frame.at;
        for (const piece of copies(frame)) {
          const restored = piece.slice(0, payload);
          const changed = parts.version === 4 ? [ip + 2, ip + 4, ip + 10] : [ip + 4];
          if (parts.transport === 'udp') changed.push(transport + 4, transport + 6);
          else changed.push(transport + 4, transport + 6, transport + 12, transport + 16);
          for (const field of changed) restored.set(frame.bytes.subarray(field, field + 2), field);
          assert.deepEqual(restored, frame.bytes.slice(0, payload));
        }
      }),
    );
  });

  it('counts sequence numbers and identifications up, past their ends', () => {
    fc.assert(
      fc.property(anyParts, (parts) => {
        const frame = unfinishedFrame(parts);
        const { ip, transport } = frame.at;
        for (const [i, piece] of copies(frame).entries()) {
          if (parts.version === 4) {
            assert.equal(word(piece, ip + 4), ((parts.id ?? 0) + i) % 0x1_0000);
          }
          if (parts.transport !== 'tcp') continue;
          const sequence = (parts.sequence ?? 0) + i * parts.gsoSize;
          assert.equal(long(piece, transport + 4), sequence % 0x1_0000_0000);
        }
      }),
    );
  });

  it('leaves CWR with the first segment, FIN and PSH with the last, ECE and ACK with all', () => {
    const payload = new Uint8Array(2500);
    const flags = ACK | FIN | PSH | ECE | CWR;
    const frame = unfinishedFrame({ payload, gsoSize: 1000, flags });
    const at = frame.at.transport + 13;
    const found = copies(frame).map((piece) => piece[at]);
    assert.deepEqual(found, [ACK | ECE | CWR, ACK | ECE, ACK | ECE | FIN | PSH]);
    const single = unfinishedFrame({ payload, gsoSize: 2500, flags });
    assert.deepEqual(
      copies(single).map((piece) => piece[at]),
      [flags],
    );
  });

  it('cuts 64 KiB, and does it again when asked again', () => {
    const payload = Uint8Array.from({ length: 65535 - 40 }, (_, i) => (i * 7) >> 3);
    const frame = unfinishedFrame({ payload, gsoSize: 1460 });
    const cut = segment(frame.bytes, frame.header);
    const first = Array.from(cut, (piece) => piece.slice());
    assert.equal(first.length, 45);
    assert.deepEqual(
      Array.from(cut, (piece) => piece.slice()),
      first,
    );
  });

  it('writes to the scratch it is given, and to nothing behind what it needs of it', () => {
    const frame = unfinishedFrame({ payload: new Uint8Array(25), gsoSize: 10 });
    const scratch = new Uint8Array(80).fill(0xee);
    for (const piece of segment(frame.bytes, frame.header, scratch)) {
      assert.equal(piece.buffer, scratch.buffer);
    }
    assert.deepEqual(scratch.subarray(64), new Uint8Array(16).fill(0xee));
    assert.throws(() => segment(frame.bytes, frame.header, scratch.subarray(17)), RangeError);
  });
});

describe('segment() of what can not be cut', () => {
  const payload = new Uint8Array(3000);
  const tcp = unfinishedFrame({ payload, gsoSize: 1400 });
  const udp = unfinishedFrame({ payload, gsoSize: 1400, transport: 'udp' });
  const tcp6 = unfinishedFrame({ payload, gsoSize: 1400, version: 6 });

  /** The frame with some of its bytes changed. */
  function changed({ bytes }: UnfinishedFrame, at: number, ...values: number[]): Uint8Array {
    const copy = bytes.slice();
    copy.set(values, at);
    return copy;
  }

  const header = (change: Partial<NetHeader>, of = tcp) => ({ ...of.header, ...change });
  const routing = { first: 43, bytes: [6, 0, 4, 1, 0, 0, 0, 0] };
  const routed = unfinishedFrame({ payload, gsoSize: 1400, version: 6, extensions: routing });
  const fragment = { first: 44, bytes: [6, 0, 0, 1, 0, 0, 0, 1] };
  const bare = unfinishedFrame({ payload: payload.subarray(0, 39), gsoSize: 10 });
  /** With a TCP header where such an IPv4 header would end. */
  const cramped = changed(tcp, 14, 0x44);
  cramped.set([0x50, ACK], 42);
  const part6 = unfinishedFrame({ payload, gsoSize: 1400, version: 6, extensions: fragment });

  const cases: readonly (readonly [why: string, bytes: Uint8Array, header: NetHeader])[] = [
    ['no GSO type', tcp.bytes, header({ gsoType: 0 })],
    ['no GSO type', tcp6.bytes, header({ gsoType: 0 }, tcp6)],
    ['a GSO type of IP fragments', udp.bytes, header({ gsoType: 3 }, udp)],
    ['segments of no size', tcp.bytes, header({ gsoSize: 0 })],
    ['no unfinished checksum', tcp.bytes, header({ flags: 0 })],
    ['a type of another IP version', tcp.bytes, header({ gsoType: 4 })],
    ['a type of another IP version', tcp6.bytes, header({ gsoType: 1 }, tcp6)],
    ['a type of another protocol', tcp.bytes, header({ gsoType: 5 })],
    ['a type of another protocol', udp.bytes, header({ gsoType: 1 }, udp)],
    ['a csumStart elsewhere', tcp.bytes, header({ csumStart: 35 })],
    ['a csumOffset elsewhere', tcp.bytes, header({ csumOffset: 6 })],
    ['neither IPv4 nor IPv6', changed(tcp, 12, 0x08, 0x06), tcp.header],
    ['an IP header of another version', changed(tcp, 14, 0x65), tcp.header],
    ['an IPv4 header that is too short', changed(tcp, 14, 0x44), tcp.header],
    ['an IPv4 header that is too short', cramped, header({ csumStart: 30 })],
    ['an IPv4 header longer than the frame says', changed(tcp, 14, 0x46), tcp.header],
    ['a first fragment', changed(tcp, 20, 0x20, 0), tcp.header],
    ['a later fragment', changed(tcp, 20, 0, 1), tcp.header],
    ['an IPv6 fragment', part6.bytes, part6.header],
    ['a routing header not at its end', routed.bytes, routed.header],
    ['an IPv4 length beyond the frame', changed(tcp, 16, 0xff), tcp.header],
    ['an IPv6 length short of the frame', changed(tcp6, 18, 0, 80), tcp6.header],
    ['a UDP length short of the frame', changed(udp, 38, 0, 80), udp.header],
    ['a TCP header longer than the frame', changed(bare, 46, 0xf0), bare.header],
    ['a TCP header that is too short', changed(tcp, 46, 0x40), tcp.header],
    ['SYN', changed(tcp, 47, ACK | 2), tcp.header],
    ['RST', changed(tcp, 47, ACK | 4), tcp.header],
    ['URG', changed(tcp, 47, ACK | 0x20), tcp.header],
    ['only its first bytes', tcp.bytes.subarray(0, 52), header({ hdrLen: 0 })],
    ['an Ethernet header alone', tcp.bytes.subarray(0, 14), header({ hdrLen: 0 })],
  ];
  for (const [why, bytes, unfit] of cases) {
    it(`refuses ${why}, type ${String(unfit.gsoType)}`, () => {
      assert.throws(() => segment(bytes, unfit), RangeError);
    });
  }

  it('either refuses a spoilt frame, or makes frames of it that verify', () => {
    const spoilt = fc.array(fc.tuple(fc.nat(90), fc.nat(255)), { minLength: 1, maxLength: 4 });
    const length = fc.option(fc.nat(200));
    let cut = 0;
    fc.assert(
      fc.property(fc.constantFrom(tcp, udp, tcp6), spoilt, length, (frame, changes, short) => {
        const bytes = frame.bytes.slice(0, short ?? frame.bytes.length);
        for (const [at, value] of changes) bytes[at] = value;
        let pieces: Uint8Array[];
        try {
          pieces = Array.from(segment(bytes, frame.header), (piece) => piece.slice());
        } catch (error) {
          assert.ok(error instanceof RangeError);
          return;
        }
        const version = frame === tcp6 ? 6 : 4;
        const transport = frame === udp ? 'udp' : 'tcp';
        for (const piece of pieces)
          verify(piece, { payload, gsoSize: 1, version, transport }, frame.at);
        cut++;
      }),
      { numRuns: 2000 },
    );
    assert.ok(cut > 0);
  });
});
