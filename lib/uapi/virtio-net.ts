/**
 * `<linux/virtio_net.h>`: names untouched. `GUEST_*` is what the driver accepts, `HOST_*` what the
 * device does. Held against the header by a test.
 */

export const VIRTIO_NET_F_CSUM = 0;
export const VIRTIO_NET_F_GUEST_CSUM = 1;
export const VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 2;
export const VIRTIO_NET_F_MTU = 3;
export const VIRTIO_NET_F_MAC = 5;
export const VIRTIO_NET_F_GUEST_TSO4 = 7;
export const VIRTIO_NET_F_GUEST_TSO6 = 8;
export const VIRTIO_NET_F_GUEST_ECN = 9;
export const VIRTIO_NET_F_GUEST_UFO = 10;
export const VIRTIO_NET_F_HOST_TSO4 = 11;
export const VIRTIO_NET_F_HOST_TSO6 = 12;
export const VIRTIO_NET_F_HOST_ECN = 13;
export const VIRTIO_NET_F_HOST_UFO = 14;
export const VIRTIO_NET_F_MRG_RXBUF = 15;
export const VIRTIO_NET_F_STATUS = 16;
export const VIRTIO_NET_F_CTRL_VQ = 17;
export const VIRTIO_NET_F_CTRL_RX = 18;
export const VIRTIO_NET_F_CTRL_VLAN = 19;
export const VIRTIO_NET_F_GUEST_ANNOUNCE = 21;
export const VIRTIO_NET_F_MQ = 22;
export const VIRTIO_NET_F_CTRL_MAC_ADDR = 23;
/** Linux 6.2. */
export const VIRTIO_NET_F_GUEST_USO4 = 54;
export const VIRTIO_NET_F_GUEST_USO6 = 55;
export const VIRTIO_NET_F_HOST_USO = 56;
/** The device says how fast the link is. */
export const VIRTIO_NET_F_SPEED_DUPLEX = 63;
/** Linux 6.17; only by way of `VHOST_SET_FEATURES_ARRAY`. */
export const VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO = 65;
export const VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM = 66;
export const VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO = 67;
export const VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM = 68;

/** `flags`: the checksum from `csum_start` on is to be filled in at `csum_offset`. */
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
/** `flags`, received frames only: the checksum was verified. */
export const VIRTIO_NET_HDR_F_DATA_VALID = 2;
/** `flags`, received frames only: the checksum fields hold counts of coalesced segments. */
export const VIRTIO_NET_HDR_F_RSC_INFO = 4;
/** `flags`, Linux 6.17: with a tunnel's GSO type, the outer UDP checksum is to be filled in too. */
export const VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM = 8;

/** `gso_type`: not to be segmented. */
export const VIRTIO_NET_HDR_GSO_NONE = 0;
/** `gso_type`: TCP over IPv4, to be cut in pieces of `gso_size` bytes. */
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
export const VIRTIO_NET_HDR_GSO_UDP = 3;
/** `gso_type`: TCP over IPv6. */
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
/** Linux 6.2: UDP datagrams, not fragments. */
export const VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
/** With a type that is cut into segments, Linux 6.17: it is inside a UDP tunnel over IPv4. */
export const VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4 = 0x20;
/** The same over IPv6. */
export const VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6 = 0x40;
/** Either of them. */
export const VIRTIO_NET_HDR_GSO_UDP_TUNNEL = 0x60;
/** With a TCP type: segments carry ECN. */
export const VIRTIO_NET_HDR_GSO_ECN = 0x80;

/** `status` of the configuration: the link is up. */
export const VIRTIO_NET_S_LINK_UP = 1;
/** `status` of the configuration: the driver is to say where it is. */
export const VIRTIO_NET_S_ANNOUNCE = 2;

/** Answers to a command of the control queue. */
export const VIRTIO_NET_OK = 0;
export const VIRTIO_NET_ERR = 1;

export const VIRTIO_NET_CTRL_RX = 0;
export const VIRTIO_NET_CTRL_RX_PROMISC = 0;
export const VIRTIO_NET_CTRL_RX_ALLMULTI = 1;
export const VIRTIO_NET_CTRL_MAC = 1;
export const VIRTIO_NET_CTRL_MAC_TABLE_SET = 0;
export const VIRTIO_NET_CTRL_MAC_ADDR_SET = 1;
export const VIRTIO_NET_CTRL_VLAN = 2;
export const VIRTIO_NET_CTRL_ANNOUNCE = 3;
export const VIRTIO_NET_CTRL_ANNOUNCE_ACK = 0;
export const VIRTIO_NET_CTRL_MQ = 4;
export const VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET = 0;
export const VIRTIO_NET_CTRL_GUEST_OFFLOADS = 5;
export const VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET = 0;
