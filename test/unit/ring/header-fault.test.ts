import assert from 'node:assert/strict';

import { gsoBit, headerFault } from '#lib/ring/header-fault';
import { PLAIN_HEADER } from '#lib/ring/net-header';
import type { NetHeader } from '#lib/ring/net-header';

const NONE = { checksums: false, gsoTypes: 0 };
const CHECKSUMS = { ...NONE, checksums: true };
const TCP4 = { ...CHECKSUMS, gsoTypes: gsoBit(1) };
const UDP = { ...CHECKSUMS, gsoTypes: gsoBit(5) };
const FRAGMENTS = { ...CHECKSUMS, gsoTypes: gsoBit(3) };
const TUNNELS = {
  checksums: true,
  gsoTypes: [1, 0x81, 4, 5].reduce((set, type) => set | gsoBit(type), 0),
  tunnels: true,
  tunnelChecksums: true,
};

describe('headerFault()', () => {
  const plain = { ...PLAIN_HEADER };
  const checksum = { ...plain, flags: 1, csumStart: 34, csumOffset: 16 };
  const segmented = { ...checksum, gsoType: 1, hdrLen: 54, gsoSize: 1448 };
  const datagrams = { ...checksum, csumOffset: 6, gsoType: 5, hdrLen: 42, gsoSize: 1000 };

  it('lets through what a kernel can act on', () => {
    assert.equal(headerFault(plain, 60, NONE), undefined);
    assert.equal(headerFault(checksum, 52, CHECKSUMS), undefined);
    assert.equal(headerFault(segmented, 4000, TCP4), undefined);
    assert.equal(headerFault(segmented, 54, TCP4), undefined, 'a single segment of no bytes');
    assert.equal(headerFault(datagrams, 42 + 128 * 1000, UDP), undefined);
    assert.equal(
      headerFault({ ...segmented, gsoType: 3, csumOffset: 6 }, 4000, FRAGMENTS),
      undefined,
    );
    assert.equal(
      headerFault({ ...checksum, csumStart: 0xffff - 1024 }, 65553, CHECKSUMS),
      undefined,
    );
    assert.equal(
      headerFault({ ...segmented, gsoType: 0x81 }, 4000, { ...TCP4, gsoTypes: gsoBit(0x81) }),
      undefined,
    );
  });

  const faults: readonly (readonly [why: string, fault: string | undefined])[] = [
    ['a checksum that ends behind the frame', headerFault(checksum, 51, CHECKSUMS)],
    ['a checksum that was not agreed on', headerFault(checksum, 60, NONE)],
    ['a checksum at no number', headerFault({ ...checksum, csumStart: NaN }, 60, CHECKSUMS)],
    ['a checksum before the frame', headerFault({ ...checksum, csumOffset: -2 }, 60, CHECKSUMS)],
    ['flags that only a device sets', headerFault({ ...plain, flags: 2 }, 60, CHECKSUMS)],
    ['a GSO type that was not agreed on', headerFault({ ...segmented, gsoType: 4 }, 4000, TCP4)],
    ['a GSO type that does not exist', headerFault({ ...segmented, gsoType: 0x7f }, 4000, TCP4)],
    ['ECN that was not agreed on', headerFault({ ...segmented, gsoType: 0x81 }, 4000, TCP4)],
    ['segments of no size', headerFault({ ...segmented, gsoSize: 0 }, 4000, TCP4)],
    ['headers longer than the frame', headerFault({ ...segmented, hdrLen: 4001 }, 4000, TCP4)],
    ['segments without a checksum', headerFault({ ...segmented, flags: 0 }, 4000, TCP4)],
    [
      'segments of the size that means something else',
      headerFault({ ...segmented, gsoSize: 0xffff }, 4000, TCP4),
    ],
    ['TCP whose checksum lies elsewhere', headerFault({ ...segmented, csumOffset: 6 }, 4000, TCP4)],
    ['UDP whose checksum lies elsewhere', headerFault({ ...datagrams, csumOffset: 16 }, 4000, UDP)],
    [
      'more datagrams than the kernel makes of one',
      headerFault(datagrams, 42 + 128 * 1000 + 1, UDP),
    ],
    ['segments whose header is cut off', headerFault({ ...segmented, hdrLen: 53 }, 53, TCP4)],
    [
      'a checksum further back than the kernel counts',
      headerFault({ ...checksum, csumStart: 0xffff - 1023 }, 65553, CHECKSUMS),
    ],
  ];
  for (const [why, fault] of faults) {
    it(`refuses ${why}`, () => {
      assert.equal(typeof fault, 'string');
    });
  }
});

describe('headerFault() of long frames inside a UDP tunnel', () => {
  // Ethernet 14, IPv4 20, UDP 8, VXLAN 8, Ethernet 14, IPv4 20, TCP 20.
  const tunnel = {
    flags: 1,
    gsoType: 0x21,
    hdrLen: 104,
    gsoSize: 1398,
    csumStart: 84,
    csumOffset: 16,
    outerThOffset: 34,
    innerNhOffset: 64,
  };
  const udp = { ...tunnel, gsoType: 0x25, csumOffset: 6, gsoSize: 1000 };
  const LENGTH = 60_000;
  const at = (change: Partial<NetHeader>) => headerFault({ ...tunnel, ...change }, LENGTH, TUNNELS);

  it('lets through what a kernel can cut: TCP and UDP, over IPv4 and IPv6, in each other', () => {
    assert.equal(at({}), undefined);
    assert.equal(at({ flags: 9 }), undefined, 'with an outer checksum');
    assert.equal(at({ gsoType: 0xa1 }), undefined, 'with ECN');
    assert.equal(at({ gsoType: 0x24, csumStart: 104 }), undefined, 'IPv6 in IPv4');
    const shifted = { outerThOffset: 54, innerNhOffset: 84, csumStart: 104 };
    assert.equal(at({ ...shifted, gsoType: 0x41 }), undefined, 'IPv4 in IPv6');
    assert.equal(headerFault(udp, LENGTH, TUNNELS), undefined, 'UDP');
  });

  it('takes the parts for as close to each other as they can be, and no closer', () => {
    const tight = { innerNhOffset: 42, csumStart: 62 };
    assert.equal(at(tight), undefined);
    const faults = [
      at({ ...tight, outerThOffset: 33 }),
      at({ ...tight, innerNhOffset: 41 }),
      at({ ...tight, csumStart: 61 }),
      at({ ...tight, gsoType: 0x24, csumStart: 81 }),
      at({ gsoType: 0x41, outerThOffset: 53, innerNhOffset: 84, csumStart: 104 }),
    ];
    for (const fault of faults) assert.match(fault ?? '', /, within the (outer|inner) \w+ header$/);
  });

  it('takes one segment, but not with an outer checksum, which nobody would fill in', () => {
    const one = { gsoSize: LENGTH - 104 };
    assert.equal(at(one), undefined);
    assert.equal(at({ ...one, flags: 9 }), 'UDP_TUNNEL_CSUM with a single segment');
    assert.equal(at({ gsoSize: LENGTH - 105, flags: 9 }), undefined);
    const short = { ...tunnel, flags: 9, gsoSize: 1 };
    assert.equal(typeof headerFault(short, 104 + 8, TUNNELS), 'string');
    assert.equal(headerFault(short, 104 + 9, TUNNELS), undefined);
  });

  const faults: readonly (readonly [why: string, fault: string | undefined])[] = [
    ['where it was not agreed on', headerFault(tunnel, LENGTH, { ...TUNNELS, tunnels: false })],
    [
      'an outer checksum that was not agreed on',
      headerFault({ ...tunnel, flags: 9 }, LENGTH, { ...TUNNELS, tunnelChecksums: false }),
    ],
    [
      'an inner type that was not agreed on',
      headerFault(tunnel, LENGTH, { ...TUNNELS, gsoTypes: 2 ** 5 }),
    ],
    ['that is none: an outer checksum of a plain frame', at({ ...PLAIN_HEADER, flags: 8 })],
    ['with an outer checksum, but no tunnel', at({ gsoType: 1, flags: 9 })],
    ['over IPv4 and IPv6 at once', at({ gsoType: 0x61 })],
    ['with nothing that is to be cut', at({ gsoType: 0x20 })],
    ['with IP fragments', at({ gsoType: 0x23 })],
    ['without the inner checksum', at({ flags: 0 })],
    ['with the outer checksum alone', at({ flags: 8 })],
    ['with segments of no size', at({ gsoSize: 0 })],
    ['with segments of the size that means something else', at({ gsoSize: 0xffff })],
    ['without offsets', at({ outerThOffset: 0, innerNhOffset: 0 })],
    ['with offsets at no numbers', at({ outerThOffset: NaN })],
    ['with offsets beyond 16 bits', at({ innerNhOffset: 0x10000 })],
    ['with headers longer than the frame', at({ hdrLen: LENGTH + 1 })],
    ['with an inner header behind the frame', at({ csumStart: LENGTH - 18, csumOffset: 16 })],
    ['with an inner header behind all that can be counted', at({ csumStart: 64_600, hdrLen: 0 })],
    ['with TCP whose checksum is where UDP has it', at({ csumOffset: 6 })],
    [
      'with UDP whose checksum is where TCP has it',
      headerFault({ ...udp, csumOffset: 16 }, LENGTH, TUNNELS),
    ],
    [
      'with more datagrams than a kernel cuts',
      headerFault({ ...udp, gsoSize: 468 }, 59_996 + 1, TUNNELS),
    ],
    ['with UDP and ECN', headerFault({ ...udp, gsoType: 0xa5 }, LENGTH, TUNNELS)],
  ];
  for (const [why, fault] of faults) {
    it(`refuses one ${why}`, () => {
      assert.equal(typeof fault, 'string');
    });
  }

  it('takes as many datagrams as a kernel cuts', () => {
    assert.equal(headerFault({ ...udp, gsoSize: 468 }, 92 + 128 * 468, TUNNELS), undefined);
    assert.equal(typeof headerFault({ ...udp, gsoSize: 468 }, 93 + 128 * 468, TUNNELS), 'string');
  });
});
