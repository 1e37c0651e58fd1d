import assert from 'node:assert/strict';

import {
  TUNNEL_HEADER_SIZE,
  bufferCount,
  clearHeader,
  readHeader,
  writeHeader,
} from '#lib/ring/net-header';

const HEADER = {
  flags: 1,
  gsoType: 4,
  hdrLen: 0x1112,
  gsoSize: 0x2122,
  csumStart: 0x3132,
  csumOffset: 0x4142,
};
const TUNNEL = { ...HEADER, gsoType: 0x24, outerThOffset: 0x5152, innerNhOffset: 0x6162 };

describe('readHeader() and writeHeader()', () => {
  it('put every field where struct virtio_net_hdr_v1 has it', () => {
    const words = new Uint16Array(8).fill(0xffff);
    writeHeader(words, 1, HEADER);
    const bytes = [...new Uint8Array(words.buffer, 2, 12)];
    assert.deepEqual(bytes, [1, 4, 0x12, 0x11, 0x22, 0x21, 0x32, 0x31, 0x42, 0x41, 0, 0]);
    assert.equal(words[0], 0xffff);
    assert.equal(words[7], 0xffff);
    assert.deepEqual(readHeader(words, 1), { ...HEADER, outerThOffset: 0, innerNhOffset: 0 });
  });

  it('put every field where struct virtio_net_hdr_v1_hash_tunnel has it', () => {
    const words = new Uint16Array(14).fill(0xffff);
    writeHeader(words, 1, TUNNEL, TUNNEL_HEADER_SIZE);
    const bytes = [...new Uint8Array(words.buffer, 2, 24)];
    const basic = [1, 0x24, 0x12, 0x11, 0x22, 0x21, 0x32, 0x31, 0x42, 0x41, 0, 0];
    const rest = [0, 0, 0, 0, 0, 0, 0, 0, 0x52, 0x51, 0x62, 0x61];
    assert.deepEqual(bytes, [...basic, ...rest]);
    assert.deepEqual([words[0], words[13]], [0xffff, 0xffff]);
    assert.deepEqual(readHeader(words, 1, TUNNEL_HEADER_SIZE), TUNNEL);
    clearHeader(words, 1, TUNNEL_HEADER_SIZE);
    assert.deepEqual([...words], [0xffff, ...new Array<number>(12).fill(0), 0xffff]);
  });

  it('see no tunnel in a frame without one: the kernel may leave anything there', () => {
    const words = new Uint16Array(12).fill(0xffff);
    writeHeader(words, 0, HEADER);
    const { outerThOffset, innerNhOffset } = readHeader(words, 0, TUNNEL_HEADER_SIZE);
    assert.deepEqual([outerThOffset, innerNhOffset], [0, 0]);
    assert.equal(words[11], 0xffff, 'behind a header of 12 bytes nothing is written');
  });

  it('takes no buffers for one, as older kernels mean it', () => {
    const words = new Uint16Array(6);
    assert.equal(bufferCount(words, 0), 1);
    words[5] = 3;
    assert.equal(bufferCount(words, 0), 3);
  });
});
