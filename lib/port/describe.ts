import type { Frame } from './frame.js';
import { inferHeader } from '../offload/infer.js';
import { IPPROTO_UDP, findPacket } from '../offload/packet.js';
import {
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6,
} from '../uapi/virtio-net.js';

/** For frames that came without a header: finds out what is unfinished, and writes what they lack. */
export function describeWith(mtu: number): (frame: Frame) => void {
  return (frame) => {
    const header = inferHeader(frame.first, frame.length, mtu, () => frame.bytes);
    frame.writeHeader(header);
  };
}

/** Bytes of a VLAN tag. */
const TAG = 4;

/**
 * For frames of a tunnel that have a VLAN tag: the kernel keeps it apart until it hands a frame on, and
 * counts the places of the tunnel without it; a further tag it takes for the version of IP, and says
 * IPv4 (`virtio_net_hdr_tnl_from_skb()` of `<linux/virtio_net.h>`, Linux 6.17 to 7.3).
 */
export function describeTunnel(frame: Frame): void {
  if (!frame.tunnelled) return;
  const { header } = frame;
  const { outerThOffset = 0, innerNhOffset = 0 } = header;
  const outer = findPacket(frame.first);
  if (outer?.protocol !== IPPROTO_UDP) return;
  const shift = outer.transport - outerThOffset;
  const gsoType = overVersion(header.gsoType, outer.version);
  if ((shift !== TAG && shift !== 0) || (shift === 0 && gsoType === header.gsoType)) return;
  frame.writeHeader({
    ...header,
    gsoType,
    outerThOffset: outerThOffset + shift,
    innerNhOffset: innerNhOffset + shift,
  });
}

function overVersion(gsoType: number, version: 4 | 6): number {
  const tunnel =
    version === 4 ? VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4 : VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6;
  return (gsoType & ~VIRTIO_NET_HDR_GSO_UDP_TUNNEL) | tunnel;
}
