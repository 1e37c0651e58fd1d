import assert from 'node:assert/strict';

import * as net from '#lib/uapi/virtio-net';
import * as virtio from '#lib/uapi/virtio';
import { bit, has } from '#lib/uapi/virtio';
import { forBackend, isConsistent, offeredToGuest } from '#lib/vmm/net-features';

const CARD = { queuePairs: 1, filters: true, unfinished: false };

/** Of Linux 6.12 and 7.3. */
const VHOST = 0x10b3d008000n;

describe('what a guest is offered', () => {
  const tap = bit(net.VIRTIO_NET_F_CSUM) | bit(net.VIRTIO_NET_F_GUEST_CSUM);

  it('is what vhost serves, what the tap does, and what the device model does, in one set', () => {
    const offered = offeredToGuest(VHOST, tap, CARD);
    for (const number of [
      net.VIRTIO_NET_F_MRG_RXBUF,
      virtio.VIRTIO_RING_F_EVENT_IDX,
      virtio.VIRTIO_F_VERSION_1,
      net.VIRTIO_NET_F_CSUM,
      net.VIRTIO_NET_F_GUEST_CSUM,
      net.VIRTIO_NET_F_MAC,
      net.VIRTIO_NET_F_SPEED_DUPLEX,
      net.VIRTIO_NET_F_CTRL_VQ,
    ]) {
      assert.ok(has(offered, number), `bit ${String(number)}`);
    }
    assert.ok(!has(offered, net.VIRTIO_NET_F_MQ));
    assert.ok(has(offeredToGuest(VHOST, tap, { ...CARD, queuePairs: 2 }), net.VIRTIO_NET_F_MQ));
  });

  it('has receive modes only where frames can be kept away, and VLANs nowhere', () => {
    const [filters, everything] = [true, false].map((filters) =>
      offeredToGuest(VHOST, tap, { ...CARD, filters }),
    );
    assert.equal((filters ?? 0n) ^ (everything ?? 0n), bit(net.VIRTIO_NET_F_CTRL_RX));
    assert.ok(has(filters ?? 0n, net.VIRTIO_NET_F_CTRL_RX));
    assert.ok(!has(filters ?? 0n, net.VIRTIO_NET_F_CTRL_VLAN));
    assert.ok(!isConsistent(bit(net.VIRTIO_NET_F_CTRL_RX)));
  });

  it('lets a driver change what comes to it only where that can be changed', () => {
    const change = net.VIRTIO_NET_F_CTRL_GUEST_OFFLOADS;
    assert.ok(has(offeredToGuest(VHOST, tap, CARD), change));
    assert.ok(!has(offeredToGuest(VHOST, tap, { ...CARD, unfinished: true }), change));
  });

  it('never has what means something else to vhost, or needs more than there is', () => {
    const offered = offeredToGuest(~0n & (bit(64) - 1n), tap, CARD);
    for (const number of [24, 26, 27, 33, 34, 35]) assert.ok(!has(offered, number));
    const above = bit(65) | bit(66) | bit(67) | bit(68);
    assert.ok(offeredToGuest(VHOST | above, tap | above, CARD) < bit(64));
  });

  it('has the reset of single rings on kernels whose vhost does not know the bit', () => {
    assert.ok(has(offeredToGuest(0x33d008000n, tap, CARD), virtio.VIRTIO_F_RING_RESET));
  });

  it('is taken only with what it needs', () => {
    const csum = bit(net.VIRTIO_NET_F_GUEST_CSUM);
    const tso4 = bit(net.VIRTIO_NET_F_GUEST_TSO4);
    const ecn = bit(net.VIRTIO_NET_F_GUEST_ECN);
    assert.ok(isConsistent(0n));
    assert.ok(isConsistent(csum | tso4 | ecn));
    assert.ok(!isConsistent(tso4));
    assert.ok(!isConsistent(csum | ecn));
    assert.ok(!isConsistent(bit(net.VIRTIO_NET_F_MQ)));
    assert.ok(!isConsistent(bit(net.VIRTIO_NET_F_HOST_USO)));
  });

  it('reaches a tap with UDP segmentation over both versions of IP or none', () => {
    const both = bit(net.VIRTIO_NET_F_GUEST_USO4) | bit(net.VIRTIO_NET_F_GUEST_USO6);
    assert.equal(forBackend(both | 1n), both | 1n);
    assert.equal(forBackend(bit(net.VIRTIO_NET_F_GUEST_USO4) | 1n), 1n);
  });
});
