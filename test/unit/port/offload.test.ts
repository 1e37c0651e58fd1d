import assert from 'node:assert/strict';

import { forwardHeader, transmitLimits, wantedFeatures } from '#lib/port/offload';
import { gsoBit } from '#lib/ring/header-fault';
import { PLAIN_HEADER } from '#lib/ring/net-header';
import {
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_USO,
} from '#lib/uapi/virtio-net';
import { bit } from '#lib/uapi/virtio';

describe('transmitLimits()', () => {
  const [TCP4, UDP, ECN] = [1, 5, 0x80];
  const types = (...features: number[]) =>
    transmitLimits(
      features.map(bit).reduce((a, b) => a | b, 0n),
      1500,
    ).gsoTypes;

  it('let ECN through where it was agreed on, with types of TCP alone', () => {
    const segmenting = [VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_USO];
    const plain = gsoBit(TCP4) | gsoBit(UDP);
    assert.equal(types(...segmenting), plain);
    assert.equal(types(...segmenting, VIRTIO_NET_F_HOST_ECN), plain | gsoBit(TCP4 | ECN));
    assert.equal(types(VIRTIO_NET_F_HOST_ECN), 0);
  });

  it('let tunnels through where they were agreed on, and their checksums apart', () => {
    const limits = transmitLimits(bit(VIRTIO_NET_F_HOST_TSO4) | bit(67), 1500);
    assert.deepEqual([limits.tunnels, limits.tunnelChecksums], [true, false]);
    assert.equal(transmitLimits(bit(67) | bit(68), 1500).tunnelChecksums, true);
    assert.equal(transmitLimits(bit(65) | bit(66), 1500).tunnels, false);
  });
});

describe('wantedFeatures()', () => {
  it('have tunnels in both directions with offloads, and none without', () => {
    assert.equal(wantedFeatures('auto') >> 64n, 0b11110n);
    assert.equal(wantedFeatures('none') >> 64n, 0n);
  });
});

describe('forwardHeader()', () => {
  it('drops what only a receiver is told; an outer checksum is for a tunnel alone', () => {
    const flags = 1 | 2 | 8;
    assert.equal(forwardHeader({ ...PLAIN_HEADER, flags, gsoType: 1 }).flags, 1);
    assert.equal(forwardHeader({ ...PLAIN_HEADER, flags, gsoType: 0x21 }).flags, 9);
  });
});
