import assert from 'node:assert/strict';

import { FEATURE_BITS, featureBits } from '#lib/uapi/features';
import * as vhost from '#lib/uapi/vhost';
import * as virtio from '#lib/uapi/virtio';
import * as virtioNet from '#lib/uapi/virtio-net';

const NUMBERS = new Map(
  [vhost, virtio, virtioNet].flatMap((room) => Object.entries(room)) as [string, unknown][],
);

describe('FEATURE_BITS', () => {
  it('has every name with its own number, each bit once, in ascending order', () => {
    const bits = FEATURE_BITS.map(({ bit }) => bit);
    assert.deepEqual(
      bits,
      [...new Set(bits)].sort((a, b) => a - b),
    );
    for (const { bit, name } of FEATURE_BITS) {
      for (const one of name.split(', ')) assert.equal(NUMBERS.get(one), bit, one);
    }
  });

  it('knows every feature of lib/uapi', () => {
    const named = new Set(FEATURE_BITS.flatMap(({ name }) => name.split(', ')));
    const features = [...NUMBERS.keys()].filter((name) =>
      /^(VIRTIO(_NET|_RING)?_F_|VHOST_(NET_)?F_)/.test(name),
    );
    assert.deepEqual(
      features.filter((name) => !named.has(name)),
      [],
    );
  });
});

describe('featureBits()', () => {
  it('names each bit of a set, also one that nobody knows', () => {
    const names = featureBits((1n << 32n) | (1n << 15n) | (1n << 200n)).map(({ name }) => name);
    assert.deepEqual(names, ['VIRTIO_NET_F_MRG_RXBUF', 'VIRTIO_F_VERSION_1', 'bit 200']);
    assert.deepEqual(featureBits(0n), []);
  });
});
