#include "uapi_net.h"

#include <assert.h>
#include <linux/virtio_net.h>
#include <stddef.h>

#ifndef VIRTIO_NET_F_HOST_USO  // Linux 6.2
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#ifndef VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO  // Linux 6.17
#define VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO 65
#define VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM 66
#define VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO 67
#define VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM 68
#endif

static_assert(sizeof(struct virtio_net_hdr) == 10, "legacy header");
static_assert(sizeof(struct virtio_net_hdr_mrg_rxbuf) == 12, "header with num_buffers");
static_assert(offsetof(struct virtio_net_hdr_v1, hdr_len) == 2, "hdr_len");
static_assert(offsetof(struct virtio_net_hdr_v1, gso_size) == 4, "gso_size");
static_assert(offsetof(struct virtio_net_hdr_v1, csum_start) == 6, "csum_start");
static_assert(offsetof(struct virtio_net_hdr_v1, csum_offset) == 8, "csum_offset");
static_assert(offsetof(struct virtio_net_hdr_v1, num_buffers) == 10, "num_buffers");

#define CONSTANT(name) \
  { #name, name }

const VhostNetConstant kVirtioNetConstants[] = {
    CONSTANT(VIRTIO_NET_F_CSUM),
    CONSTANT(VIRTIO_NET_F_GUEST_CSUM),
    CONSTANT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS),
    CONSTANT(VIRTIO_NET_F_MTU),
    CONSTANT(VIRTIO_NET_F_MAC),
    CONSTANT(VIRTIO_NET_F_GUEST_TSO4),
    CONSTANT(VIRTIO_NET_F_GUEST_TSO6),
    CONSTANT(VIRTIO_NET_F_GUEST_ECN),
    CONSTANT(VIRTIO_NET_F_GUEST_UFO),
    CONSTANT(VIRTIO_NET_F_HOST_TSO4),
    CONSTANT(VIRTIO_NET_F_HOST_TSO6),
    CONSTANT(VIRTIO_NET_F_HOST_ECN),
    CONSTANT(VIRTIO_NET_F_HOST_UFO),
    CONSTANT(VIRTIO_NET_F_MRG_RXBUF),
    CONSTANT(VIRTIO_NET_F_STATUS),
    CONSTANT(VIRTIO_NET_F_CTRL_VQ),
    CONSTANT(VIRTIO_NET_F_CTRL_RX),
    CONSTANT(VIRTIO_NET_F_CTRL_VLAN),
    CONSTANT(VIRTIO_NET_F_GUEST_ANNOUNCE),
    CONSTANT(VIRTIO_NET_F_MQ),
    CONSTANT(VIRTIO_NET_F_CTRL_MAC_ADDR),
    CONSTANT(VIRTIO_NET_F_GUEST_USO4),
    CONSTANT(VIRTIO_NET_F_GUEST_USO6),
    CONSTANT(VIRTIO_NET_F_HOST_USO),
    CONSTANT(VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO),
    CONSTANT(VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM),
    CONSTANT(VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO),
    CONSTANT(VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM),
    CONSTANT(VIRTIO_NET_HDR_F_NEEDS_CSUM),
    CONSTANT(VIRTIO_NET_HDR_F_DATA_VALID),
    CONSTANT(VIRTIO_NET_HDR_F_RSC_INFO),
    CONSTANT(VIRTIO_NET_HDR_GSO_NONE),
    CONSTANT(VIRTIO_NET_HDR_GSO_TCPV4),
    CONSTANT(VIRTIO_NET_HDR_GSO_UDP),
    CONSTANT(VIRTIO_NET_HDR_GSO_TCPV6),
    CONSTANT(VIRTIO_NET_HDR_GSO_UDP_L4),
    CONSTANT(VIRTIO_NET_HDR_GSO_ECN),
    {0, 0},
};
