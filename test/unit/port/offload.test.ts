import assert from 'node:assert/strict';

import { transmitLimits } from '#lib/port/offload';
import { gsoBit } from '#lib/ring/net-header';
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
});
