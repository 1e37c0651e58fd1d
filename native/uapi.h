#ifndef VHOST_NET_UAPI_H_
#define VHOST_NET_UAPI_H_

// The one place where kernel headers enter C++. What an older header lacks is defined here, so that
// an addon built on an old distribution drives a new kernel.

#define VIRTIO_RING_NO_LEGACY  // leaves out vring_init(), which is not valid C++
#include <linux/vhost.h>
#include <linux/virtio_ring.h>
#undef VIRTIO_RING_NO_LEGACY

#include <linux/filter.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/pci_regs.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include <cstddef>
#include <cstdint>

#ifndef VHOST_GET_FEATURES_ARRAY  // Linux 6.17
struct vhost_features_array {
  __u64 count;
  __u64 features[];
};
#define VHOST_GET_FEATURES_ARRAY _IOR(VHOST_VIRTIO, 0x83, struct vhost_features_array)
#define VHOST_SET_FEATURES_ARRAY _IOW(VHOST_VIRTIO, 0x83, struct vhost_features_array)
#endif
#ifndef VHOST_SET_FORK_FROM_OWNER  // Linux 6.17, and stable kernels of 6.12
#define VHOST_FORK_OWNER_KTHREAD 0
#define VHOST_FORK_OWNER_TASK 1
#define VHOST_SET_FORK_FROM_OWNER _IOW(VHOST_VIRTIO, 0x84, __u8)
#define VHOST_GET_FORK_FROM_OWNER _IOR(VHOST_VIRTIO, 0x85, __u8)
#endif
#ifndef TUNGETDEVNETNS  // Linux 5.2
#define TUNGETDEVNETNS _IO('T', 227)
#endif
#ifndef TUNSETCARRIER  // Linux 5.0
#define TUNSETCARRIER _IOW('T', 226, int)
#endif
#ifndef TUNSETSTEERINGEBPF  // Linux 4.16
#define TUNSETSTEERINGEBPF _IOR('T', 224, int)
#endif
#ifndef PACKET_IGNORE_OUTGOING  // Linux 4.20
#define PACKET_IGNORE_OUTGOING 23
#endif
#ifndef PACKET_VNET_HDR_SZ  // Linux 6.6
#define PACKET_VNET_HDR_SZ 24
#endif
#ifndef TUN_F_USO4  // Linux 6.2
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef TUN_F_UDP_TUNNEL_GSO  // Linux 6.17
#define TUN_F_UDP_TUNNEL_GSO 0x080
#define TUN_F_UDP_TUNNEL_GSO_CSUM 0x100
#endif
#ifndef VIRTIO_PCI_COMMON_Q_NDATA  // Linux 6.0
#define VIRTIO_PCI_COMMON_Q_NDATA 56
#define VIRTIO_PCI_COMMON_Q_RESET 58
#endif
#ifndef VIRTIO_F_RING_RESET  // Linux 6.2
#define VIRTIO_F_RING_RESET 40
#endif

static_assert(sizeof(vhost_vring_state) == 8);
static_assert(sizeof(vhost_vring_file) == 8);
static_assert(sizeof(vhost_vring_addr) == 40);
static_assert(offsetof(vhost_vring_addr, desc_user_addr) == 8);
static_assert(offsetof(vhost_vring_addr, used_user_addr) == 16);
static_assert(offsetof(vhost_vring_addr, avail_user_addr) == 24);
static_assert(offsetof(vhost_vring_addr, log_guest_addr) == 32);
static_assert(sizeof(vhost_memory) == 8);
static_assert(sizeof(vhost_features_array) == 8);
static_assert(sizeof(vhost_memory_region) == 32);
static_assert(sizeof(vring_desc) == 16);
static_assert(offsetof(vring_desc, len) == 8);
static_assert(offsetof(vring_desc, flags) == 12);
static_assert(offsetof(vring_desc, next) == 14);
static_assert(sizeof(vring_used_elem) == 8);
static_assert(sizeof(tun_filter) == 4);

#endif  // VHOST_NET_UAPI_H_
