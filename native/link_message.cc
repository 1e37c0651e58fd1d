#include "link_message.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "netlink.h"

namespace vhost_net {
namespace {

void SetCounters(Napi::Object out, const rtnl_link_stats64& counters) {
  const auto set = [&out](const char* name, uint64_t value) {
    out.Set(name, static_cast<double>(value));
  };
  set("receivePackets", counters.rx_packets);
  set("receiveBytes", counters.rx_bytes);
  set("receiveErrors", counters.rx_errors);
  set("receiveDropped", counters.rx_dropped);
  set("transmitPackets", counters.tx_packets);
  set("transmitBytes", counters.tx_bytes);
  set("transmitErrors", counters.tx_errors);
  set("transmitDropped", counters.tx_dropped);
}

void ForEachNested(const rtattr& outer, const std::function<void(const rtattr&)>& each) {
  ForEachAttribute(static_cast<const rtattr*>(RTA_DATA(&outer)), RTA_PAYLOAD(&outer), each);
}

/// `tap: { multiQueue, queueCount }`, when it is one. Those that are detached do not count.
void SetTap(Napi::Object link, const rtattr& data) {
  uint8_t type = 0;
  uint8_t multi_queue = 0;
  uint32_t queues = 0;
  ForEachNested(data, [&type, &multi_queue, &queues](const rtattr& attribute) {
    const auto* byte = static_cast<const uint8_t*>(RTA_DATA(&attribute));
    if (attribute.rta_type == IFLA_TUN_TYPE) type = *byte;
    if (attribute.rta_type == IFLA_TUN_MULTI_QUEUE) multi_queue = *byte;
    if (attribute.rta_type == IFLA_TUN_NUM_QUEUES) std::memcpy(&queues, byte, sizeof queues);
  });
  if (type != IFF_TAP) return;
  const Napi::Object tap = Napi::Object::New(link.Env());
  tap.Set("multiQueue", multi_queue != 0);
  // A multi-queue one counts its queues; any other has one, or nobody has it open.
  if (multi_queue != 0) Napi::Object(tap).Set("queueCount", static_cast<double>(queues));
  link.Set("tap", tap);
}

/// `macvtap: { mode }`
void SetMacvtap(Napi::Object link, const rtattr& data) {
  uint32_t mode = 0;
  ForEachNested(data, [&mode](const rtattr& attribute) {
    if (attribute.rta_type == IFLA_MACVLAN_MODE) std::memcpy(&mode, RTA_DATA(&attribute), 4);
  });
  const Napi::Object macvtap = Napi::Object::New(link.Env());
  macvtap.Set("mode", static_cast<double>(mode));
  link.Set("macvtap", macvtap);
}

/// What only interfaces of a kind have. The kind comes first.
void SetKind(Napi::Object link, const rtattr& info) {
  std::string kind;
  ForEachNested(info, [&kind, &link](const rtattr& attribute) {
    if (attribute.rta_type == IFLA_INFO_KIND) {
      kind = static_cast<const char*>(RTA_DATA(&attribute));
      Napi::Object(link).Set("kind", kind);
    }
    if (attribute.rta_type != IFLA_INFO_DATA) return;
    if (kind == "tun") SetTap(link, attribute);
    if (kind == "macvtap") SetMacvtap(link, attribute);
  });
}

void SetAttribute(Napi::Object link, const rtattr& attribute) {
  const void* data = RTA_DATA(&attribute);
  const size_t length = RTA_PAYLOAD(&attribute);
  const Napi::Env env = link.Env();
  const auto word = [data] { return static_cast<double>(*static_cast<const uint32_t*>(data)); };
  if (attribute.rta_type == IFLA_IFNAME) {
    link.Set("name", static_cast<const char*>(data));
  } else if (attribute.rta_type == IFLA_MTU && length >= sizeof(uint32_t)) {
    link.Set("mtu", word());
  } else if (attribute.rta_type == IFLA_LINK && length >= sizeof(uint32_t)) {
    link.Set("lower", word());
  } else if (attribute.rta_type == IFLA_CARRIER && length >= 1) {
    link.Set("carrier", *static_cast<const uint8_t*>(data) != 0);
  } else if (attribute.rta_type == IFLA_ADDRESS) {
    auto bytes = Napi::Uint8Array::New(env, length);
    std::memcpy(bytes.Data(), data, length);
    link.Set("mac", bytes);
  } else if (attribute.rta_type == IFLA_STATS64) {
    rtnl_link_stats64 counters = {};  // older and newer kernels send shorter and longer ones
    std::memcpy(&counters, data, std::min(length, sizeof counters));
    const Napi::Object out = Napi::Object::New(env);
    SetCounters(out, counters);
    link.Set("counters", out);
  } else if (attribute.rta_type == IFLA_LINKINFO) {
    SetKind(link, attribute);
  }
}

}  // namespace

Napi::Object DecodeLink(Napi::Env env, const nlmsghdr& message) {
  const auto* found = static_cast<const ifinfomsg*>(NLMSG_DATA(&message));
  const Napi::Object link = Napi::Object::New(env);
  Napi::Object(link).Set("index", found->ifi_index);
  Napi::Object(link).Set("up", (found->ifi_flags & IFF_UP) != 0);
  Napi::Object(link).Set("mac", Napi::Uint8Array::New(env, 0));  // some interfaces have none
  ForEachAttribute(IFLA_RTA(found), IFLA_PAYLOAD(&message),
                   [&link](const rtattr& attribute) { SetAttribute(link, attribute); });
  return link;
}

}  // namespace vhost_net
