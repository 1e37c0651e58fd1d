import type { Finding } from './check.js';
import type { TapCapabilities } from './tap.js';
import type { VhostCapabilities } from './vhost.js';
import {
  VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO,
  VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO,
} from '../uapi/virtio-net.js';

const USE = "long frames inside VXLAN and Geneve, with offloads: 'auto'";
const SINCE = 'Linux 6.17 has it';

/** Whether taps take and give long frames inside a UDP tunnel: vhost and tap need to know of them both. */
export function findTunnels(
  vhost: Pick<VhostCapabilities, 'features'> | undefined,
  tap: Pick<TapCapabilities, 'offloads'> | undefined,
): Finding {
  if (!vhost || !tap) return { ok: false, detail: 'not tried: a device could not be opened' };
  const bits = vhost.features.map(({ bit }) => bit);
  const both = [VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO, VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO];
  if (!both.every((bit) => bits.includes(bit))) {
    return { ok: false, detail: `${USE}: vhost-net does not offer it, ${SINCE}` };
  }
  if (!tap.offloads) return { ok: false, detail: 'not tried: no tap could be made' };
  return tap.offloads.includes('TUN_F_UDP_TUNNEL_GSO')
    ? { ok: true, detail: USE }
    : { ok: false, detail: `${USE}: taps do not take it, ${SINCE}` };
}
