import assert from 'node:assert/strict';

import {
  PLAIN_HEADER,
  bufferCount,
  gsoBit,
  headerFault,
  readHeader,
  writeHeader,
} from '#lib/ring/net-header';

const TCP4 = gsoBit(1);
const TCP4_ECN = gsoBit(0x81);

describe('readHeader() and writeHeader()', () => {
  it('put every field where struct virtio_net_hdr_v1 has it', () => {
    const words = new Uint16Array(8).fill(0xffff);
    writeHeader(words, 1, {
      flags: 1,
      gsoType: 4,
      hdrLen: 0x1112,
      gsoSize: 0x2122,
      csumStart: 0x3132,
      csumOffset: 0x4142,
    });
    const bytes = [...new Uint8Array(words.buffer, 2, 12)];
    assert.deepEqual(bytes, [1, 4, 0x12, 0x11, 0x22, 0x21, 0x32, 0x31, 0x42, 0x41, 0, 0]);
    assert.equal(words[0], 0xffff);
    assert.equal(words[7], 0xffff);
    assert.deepEqual(readHeader(words, 1), {
      flags: 1,
      gsoType: 4,
      hdrLen: 0x1112,
      gsoSize: 0x2122,
      csumStart: 0x3132,
      csumOffset: 0x4142,
    });
  });

  it('takes no buffers for one, as older kernels mean it', () => {
    const words = new Uint16Array(6);
    assert.equal(bufferCount(words, 0), 1);
    words[5] = 3;
    assert.equal(bufferCount(words, 0), 3);
  });
});

describe('headerFault()', () => {
  const plain = { ...PLAIN_HEADER };
  const checksum = { ...plain, flags: 1, csumStart: 34, csumOffset: 16 };
  const segmented = { ...checksum, gsoType: 1, hdrLen: 54, gsoSize: 1448 };

  it('lets through what a kernel can act on', () => {
    assert.equal(headerFault(plain, 60, 0, false), undefined);
    assert.equal(headerFault(checksum, 52, 0, true), undefined);
    assert.equal(headerFault(segmented, 4000, TCP4, true), undefined);
    assert.equal(headerFault({ ...segmented, gsoType: 0x81 }, 4000, TCP4_ECN, true), undefined);
  });

  const faults: readonly (readonly [why: string, fault: string | undefined])[] = [
    ['a checksum that ends behind the frame', headerFault(checksum, 51, 0, true)],
    ['a checksum that was not agreed on', headerFault(checksum, 60, 0, false)],
    ['a checksum at no number', headerFault({ ...checksum, csumStart: NaN }, 60, 0, true)],
    ['a checksum before the frame', headerFault({ ...checksum, csumOffset: -2 }, 60, 0, true)],
    ['flags that only a device sets', headerFault({ ...plain, flags: 2 }, 60, 0, true)],
    [
      'a GSO type that was not agreed on',
      headerFault({ ...segmented, gsoType: 4 }, 4000, TCP4, true),
    ],
    [
      'a GSO type that does not exist',
      headerFault({ ...segmented, gsoType: 0x7f }, 4000, TCP4, true),
    ],
    ['ECN that was not agreed on', headerFault({ ...segmented, gsoType: 0x81 }, 4000, TCP4, true)],
    ['segments of no size', headerFault({ ...segmented, gsoSize: 0 }, 4000, TCP4, true)],
    [
      'headers longer than the frame',
      headerFault({ ...segmented, hdrLen: 4001 }, 4000, TCP4, true),
    ],
    ['segments without a checksum', headerFault({ ...segmented, flags: 0 }, 4000, TCP4, true)],
  ];
  for (const [why, fault] of faults) {
    it(`refuses ${why}`, () => {
      assert.equal(typeof fault, 'string');
    });
  }
});
