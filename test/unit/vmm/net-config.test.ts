import assert from 'node:assert/strict';

import * as net from '#lib/uapi/virtio-net';
import { NetConfig } from '#lib/vmm/net-config';

describe('NetConfig', () => {
  const config = () => new NetConfig(Uint8Array.of(2, 0, 0, 0, 0, 5), 2, 1500, undefined);

  it('is laid out as the specification says', () => {
    const one = config();
    assert.equal(one.read(0, 4), 2);
    assert.equal(one.read(4, 2), 0x0500);
    assert.equal(one.read(6, 2), net.VIRTIO_NET_S_LINK_UP);
    assert.equal(one.read(8, 2), 2);
    assert.equal(one.read(10, 2), 1500);
    assert.equal(one.read(12, 4), 0xffffffff, 'unknown speed');
    assert.equal(one.read(16, 1), 1, 'full duplex');
    assert.equal(one.read(5, 2), 0x0105, 'across fields');
  });

  it('changes one thing at a time', () => {
    const one = config();
    one.linkUp = false;
    one.announce = true;
    assert.equal(one.read(6, 2), net.VIRTIO_NET_S_ANNOUNCE);
    one.mtu = 9000;
    one.mac = Uint8Array.of(2, 1, 1, 1, 1, 1);
    assert.equal(one.read(10, 2), 9000);
    assert.deepEqual([one.linkUp, one.announce, ...one.mac], [false, true, 2, 1, 1, 1, 1, 1]);
    assert.equal(one.read(6, 2), net.VIRTIO_NET_S_ANNOUNCE);
  });
});
