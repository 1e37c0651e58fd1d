import assert from 'node:assert/strict';

import { offloadFlags, probeOffloads, usualOffloads } from '#lib/backend/tun-offload';
import * as tun from '#lib/uapi/tun';
import * as net from '#lib/uapi/virtio-net';
import { bit, has } from '#lib/uapi/virtio';

const TCP = tun.TUN_F_CSUM | tun.TUN_F_TSO4 | tun.TUN_F_TSO6 | tun.TUN_F_TSO_ECN;
const UDP = TCP | tun.TUN_F_USO4 | tun.TUN_F_USO6;
const TUNNEL = UDP | tun.TUN_F_UDP_TUNNEL_GSO | tun.TUN_F_UDP_TUNNEL_GSO_CSUM;

const TUNNEL_BITS = [65, 66, 67, 68];

/** A tap that takes some flags, and refuses a set with any other. */
function tapOf(known: number): { set: number[]; setOffload: (flags: number) => void } {
  const set: number[] = [];
  return {
    set,
    setOffload: (flags) => {
      if ((flags & ~known) !== 0) throw Object.assign(new Error('no'), { code: 'EINVAL' });
      set.push(flags);
    },
  };
}

describe('probeOffloads()', () => {
  const kernels: readonly (readonly [what: string, known: number, newest: number])[] = [
    ['Linux 6.1', TCP, net.VIRTIO_NET_F_HOST_ECN],
    ['Linux 6.12, a macvtap', UDP, net.VIRTIO_NET_F_HOST_USO],
    ['Linux 6.17', TUNNEL, net.VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM],
  ];
  for (const [what, known, newest] of kernels) {
    it(`finds both directions of what a tap takes, and leaves all off: ${what}`, () => {
      const tap = tapOf(known);
      const features = probeOffloads(tap as never);
      assert.equal(offloadFlags(features), known);
      assert.equal(features >> BigInt(newest), 1n);
      assert.deepEqual(tap.set, [known, 0]);
    });
  }
});

describe('usualOffloads()', () => {
  it('has tunnels from Linux 6.17 on, and only where they may be', () => {
    for (const release of ['6.17.0', '7.3.4+deb13-amd64', '10.0']) {
      const features = usualOffloads(true, release);
      assert.ok(
        TUNNEL_BITS.every((number) => has(features, number)),
        release,
      );
      assert.ok(TUNNEL_BITS.every((number) => !has(usualOffloads(false, release), number)));
    }
    for (const release of ['5.10', '6.1.0-56-amd64', '6.12.95', '6.16.9']) {
      assert.ok(usualOffloads(true, release) < bit(64), release);
    }
  });

  it('has UDP segmentation from Linux 6.2 on', () => {
    assert.ok(!has(usualOffloads(true, '6.1.192'), net.VIRTIO_NET_F_HOST_USO));
    assert.ok(has(usualOffloads(true, '6.2.0'), net.VIRTIO_NET_F_HOST_USO));
  });
});
