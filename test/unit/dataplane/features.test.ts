import assert from 'node:assert/strict';

import { headerSize, negotiate, vhostPart } from '#lib/dataplane/features';
import { bit } from '#lib/uapi/virtio';

const REQUIRED = [[32, 'VIRTIO_F_VERSION_1']] as const;

describe('negotiate()', () => {
  it('takes each bit from whoever serves it, and only what is wanted', () => {
    const offer = { vhost: bit(32) | bit(29), backend: bit(0) | bit(7), wanted: bit(32) | bit(0) };
    assert.equal(negotiate({ ...offer, required: REQUIRED }), bit(32) | bit(0));
  });

  it('never takes bits 27 and 33, which mean something else to vhost', () => {
    const all = bit(27) | bit(32) | bit(33);
    const offer = { vhost: all, backend: 0n, wanted: all, required: REQUIRED };
    assert.equal(negotiate(offer), bit(32));
  });

  it('takes long frames inside a UDP tunnel only from both, for their header is longer', () => {
    const tunnels = bit(65) | bit(67);
    const all = tunnels | bit(66) | bit(68);
    const agree = (vhost: bigint, backend: bigint) =>
      negotiate({ vhost, backend, wanted: all, required: [] });
    assert.equal(agree(tunnels, all), all);
    assert.equal(agree(tunnels, 0n), 0n);
    assert.equal(agree(0n, all), 0n);
    assert.equal(agree(bit(65), all), bit(65) | bit(66), 'checksums only with what they are of');
    assert.equal(agree(bit(67), all), bit(67) | bit(68));
  });

  it('names what is required and not there', () => {
    const offer = { vhost: bit(29), backend: bit(0), wanted: bit(32) | bit(0), required: REQUIRED };
    assert.throws(() => negotiate(offer), {
      code: 'ERR_VHOST_FEATURE_MISSING',
      message: "this kernel's vhost-net lacks VIRTIO_F_VERSION_1",
    });
  });
});

describe('headerSize()', () => {
  it('is 24 bytes with either direction of tunnels, 12 with version 1, else 10', () => {
    assert.equal(headerSize(0n), 10);
    assert.equal(headerSize(bit(15)), 12);
    assert.equal(headerSize(bit(32)), 12);
    assert.equal(headerSize(bit(32) | bit(65)), 24);
    assert.equal(headerSize(bit(32) | bit(67)), 24);
    assert.equal(headerSize(bit(32) | bit(66) | bit(68)), 12);
  });
});

describe('vhostPart()', () => {
  it('has what vhost offers of an agreement, also above bit 63', () => {
    const vhost = bit(32) | bit(65) | bit(67);
    assert.equal(vhostPart(bit(0) | bit(65) | bit(66), vhost), bit(65));
    assert.equal(vhostPart(bit(32), vhost, true), bit(32) | bit(27));
  });
});
