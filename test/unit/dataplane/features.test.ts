import assert from 'node:assert/strict';

import { negotiate } from '#lib/dataplane/features';
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

  it('names what is required and not there', () => {
    const offer = { vhost: bit(29), backend: bit(0), wanted: bit(32) | bit(0), required: REQUIRED };
    assert.throws(() => negotiate(offer), {
      code: 'ERR_VHOST_FEATURE_MISSING',
      message: "this kernel's vhost-net lacks VIRTIO_F_VERSION_1",
    });
  });
});
