#include "addon.h"
#include "uapi.h"
#include "uapi_net.h"

// The values of the kernel headers that this addon was compiled against, for the test that holds
// lib/uapi against them.

namespace vhost_net {
namespace {

constexpr VhostNetConstant Named(const char* name, unsigned long long value) {
  return {name, value};
}

#define CONSTANT(name) Named(#name, name)

constexpr VhostNetConstant kConstants[] = {
    CONSTANT(VHOST_SET_OWNER),
    CONSTANT(VHOST_RESET_OWNER),
    CONSTANT(VHOST_GET_FEATURES),
    CONSTANT(VHOST_SET_FEATURES),
    CONSTANT(VHOST_GET_FEATURES_ARRAY),
    CONSTANT(VHOST_SET_FEATURES_ARRAY),
    CONSTANT(VHOST_GET_BACKEND_FEATURES),
    CONSTANT(VHOST_SET_BACKEND_FEATURES),
    CONSTANT(VHOST_SET_FORK_FROM_OWNER),
    CONSTANT(VHOST_GET_FORK_FROM_OWNER),
    CONSTANT(VHOST_SET_MEM_TABLE),
    CONSTANT(VHOST_SET_LOG_BASE),
    CONSTANT(VHOST_SET_LOG_FD),
    CONSTANT(VHOST_SET_VRING_NUM),
    CONSTANT(VHOST_SET_VRING_ADDR),
    CONSTANT(VHOST_SET_VRING_BASE),
    CONSTANT(VHOST_GET_VRING_BASE),
    CONSTANT(VHOST_SET_VRING_KICK),
    CONSTANT(VHOST_SET_VRING_CALL),
    CONSTANT(VHOST_SET_VRING_ERR),
    CONSTANT(VHOST_SET_VRING_ENDIAN),
    CONSTANT(VHOST_GET_VRING_ENDIAN),
    CONSTANT(VHOST_SET_VRING_BUSYLOOP_TIMEOUT),
    CONSTANT(VHOST_GET_VRING_BUSYLOOP_TIMEOUT),
    CONSTANT(VHOST_NET_SET_BACKEND),
    CONSTANT(VHOST_FORK_OWNER_KTHREAD),
    CONSTANT(VHOST_FORK_OWNER_TASK),
    CONSTANT(VHOST_VRING_LITTLE_ENDIAN),
    CONSTANT(VHOST_VRING_BIG_ENDIAN),
    CONSTANT(VHOST_VRING_F_LOG),
    CONSTANT(VHOST_BACKEND_F_IOTLB_MSG_V2),
    CONSTANT(VHOST_F_LOG_ALL),
    CONSTANT(VHOST_NET_F_VIRTIO_NET_HDR),
    CONSTANT(VRING_DESC_F_NEXT),
    CONSTANT(VRING_DESC_F_WRITE),
    CONSTANT(VRING_DESC_F_INDIRECT),
    CONSTANT(VRING_AVAIL_F_NO_INTERRUPT),
    CONSTANT(VRING_USED_F_NO_NOTIFY),
    CONSTANT(VIRTIO_RING_F_INDIRECT_DESC),
    CONSTANT(VIRTIO_RING_F_EVENT_IDX),
    CONSTANT(VIRTIO_F_NOTIFY_ON_EMPTY),
    CONSTANT(VIRTIO_F_ANY_LAYOUT),
    CONSTANT(VIRTIO_F_VERSION_1),
    CONSTANT(VIRTIO_F_ACCESS_PLATFORM),
    CONSTANT(VIRTIO_F_RING_PACKED),
    CONSTANT(VIRTIO_F_IN_ORDER),
    CONSTANT(VIRTIO_F_RING_RESET),
    CONSTANT(IFF_TUN),
    CONSTANT(IFF_TAP),
    CONSTANT(IFF_NO_PI),
    CONSTANT(IFF_VNET_HDR),
    CONSTANT(IFF_MULTI_QUEUE),
    CONSTANT(IFF_TUN_EXCL),
    CONSTANT(IFF_PERSIST),
    CONSTANT(IFNAMSIZ),
    CONSTANT(TUN_F_CSUM),
    CONSTANT(TUN_F_TSO4),
    CONSTANT(TUN_F_TSO6),
    CONSTANT(TUN_F_TSO_ECN),
    CONSTANT(TUN_F_UFO),
    CONSTANT(TUN_F_USO4),
    CONSTANT(TUN_F_USO6),
    CONSTANT(TUN_F_UDP_TUNNEL_GSO),
    CONSTANT(TUN_F_UDP_TUNNEL_GSO_CSUM),
};

void Set(Napi::Object table, const VhostNetConstant& constant) {
  table.Set(constant.name, Napi::Number::New(table.Env(), static_cast<double>(constant.value)));
}

/// constants(): Record<string, number>
Napi::Value Constants(const Napi::CallbackInfo& info) {
  const Napi::Object table = Napi::Object::New(info.Env());
  for (const VhostNetConstant& constant : kConstants) Set(table, constant);
  for (const VhostNetConstant* one = kVirtioNetConstants; one->name != nullptr; one++) {
    Set(table, *one);
  }
  return table;
}

}  // namespace

void ExportConstants(Napi::Env env, Napi::Object exports) {
  Export<Constants>(env, exports, "constants");
}

}  // namespace vhost_net
