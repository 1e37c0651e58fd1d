#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "addon.h"
#include "descriptor.h"
#include "netlink.h"
#include "netns.h"

// Network interfaces through rtnetlink: what Node has no call for. A netlink socket belongs to the
// namespace it was made in, so one that was opened in a tap's namespace goes on serving that tap.

namespace vhost_net {
namespace {

using FilePointer = std::shared_ptr<OpenFile>;

/// netlinkOpen(netns?)
Napi::Value Open(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const int netns = arguments.OptionalFd(0, "netns");
  if (!arguments.ok()) return info.Env().Undefined();
  UniqueFd fd;
  const auto open = [] { return ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE); };
  const auto [error, on_the_way] = OpenInNetns(netns, open, &fd);
  if (on_the_way != nullptr) return ThrowSystem(info.Env(), error, on_the_way, "");
  if (error != 0) return ThrowSystem(info.Env(), error, "socket", "NETLINK_ROUTE");
  return Descriptor::Make(info.Env(), std::move(fd));
}

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

/// Sets `tap` when the interface is one.
void SetKind(Napi::Object link, const rtattr& info) {
  bool tun = false;
  uint8_t type = 0;
  uint8_t multi_queue = 0;
  const auto look = [&type, &multi_queue](const rtattr& attribute) {
    const auto* byte = static_cast<const uint8_t*>(RTA_DATA(&attribute));
    if (attribute.rta_type == IFLA_TUN_TYPE) type = *byte;
    if (attribute.rta_type == IFLA_TUN_MULTI_QUEUE) multi_queue = *byte;
  };
  // The kind comes before what only this kind has.
  ForEachNested(info, [&tun, &look](const rtattr& attribute) {
    const auto* text = static_cast<const char*>(RTA_DATA(&attribute));
    if (attribute.rta_type == IFLA_INFO_KIND) tun = std::strcmp(text, "tun") == 0;
    if (attribute.rta_type == IFLA_INFO_DATA && tun) ForEachNested(attribute, look);
  });
  if (type != IFF_TAP) return;
  const Napi::Object tap = Napi::Object::New(link.Env());
  tap.Set("multiQueue", multi_queue != 0);
  link.Set("tap", tap);
}

void SetAttribute(Napi::Object link, const rtattr& attribute) {
  const void* data = RTA_DATA(&attribute);
  const size_t length = RTA_PAYLOAD(&attribute);
  const Napi::Env env = link.Env();
  if (attribute.rta_type == IFLA_IFNAME) {
    link.Set("name", static_cast<const char*>(data));
  } else if (attribute.rta_type == IFLA_MTU && length >= sizeof(uint32_t)) {
    link.Set("mtu", static_cast<double>(*static_cast<const uint32_t*>(data)));
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

/// linkGet(netlink, nameOrIndex): { index, up, name, mtu, carrier, mac, counters, tap? }
Napi::Value Get(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "netlink");
  const bool by_name = info.Length() > 1 && info[1].IsString();
  const std::string name = by_name ? arguments.String(1, "name", IFNAMSIZ - 1) : "";
  ifinfomsg body = {};
  body.ifi_index = by_name ? 0 : static_cast<int>(arguments.Integer(1, "index", 1, INT32_MAX));
  if (!arguments.ok()) return info.Env().Undefined();
  NetlinkRequest request(RTM_GETLINK, 0, body);
  if (by_name) request.Attribute(IFLA_IFNAME, name.c_str(), name.size() + 1);
  const Napi::Object link = Napi::Object::New(info.Env());
  const int error = request.Perform(file->fd.get(), [&link](const nlmsghdr& message) {
    const auto* found = static_cast<const ifinfomsg*>(NLMSG_DATA(&message));
    Napi::Object(link).Set("index", found->ifi_index);
    Napi::Object(link).Set("up", (found->ifi_flags & IFF_UP) != 0);
    ForEachAttribute(IFLA_RTA(found), IFLA_PAYLOAD(&message),
                     [&link](const rtattr& attribute) { SetAttribute(link, attribute); });
  });
  if (error != 0) return ThrowSystem(info.Env(), error, "netlink", "RTM_GETLINK", name);
  return link;
}

/// linkSet(netlink, index, up?, mtu?, mac?): changes what is given.
Napi::Value Set(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "netlink");
  ifinfomsg body = {};
  body.ifi_index = static_cast<int>(arguments.Integer(1, "index", 1, INT32_MAX));
  if (arguments.Has(2)) {
    body.ifi_change = IFF_UP;
    body.ifi_flags = arguments.Boolean(2, "up") ? IFF_UP : 0;
  }
  const uint32_t mtu = arguments.Has(3) ? arguments.Unsigned(3, "mtu") : 0;
  const auto mac = arguments.Has(4) ? arguments.Bytes(4, "mac") : Napi::Uint8Array();
  if (arguments.ok() && arguments.Has(4) && mac.ByteLength() != 6) {
    arguments.FailRange("mac", "6 bytes long");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  NetlinkRequest request(RTM_SETLINK, NLM_F_ACK, body);
  if (arguments.Has(3)) request.Attribute(IFLA_MTU, &mtu, sizeof mtu);
  if (arguments.Has(4)) request.Attribute(IFLA_ADDRESS, mac.Data(), mac.ByteLength());
  const int error = request.Perform(file->fd.get());
  if (error != 0) return ThrowSystem(info.Env(), error, "netlink", "RTM_SETLINK");
  return info.Env().Undefined();
}

/// addressAdd(netlink, index, address: 4 or 16 bytes, prefixLength)
Napi::Value AddressAdd(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "netlink");
  ifaddrmsg body = {};
  body.ifa_index = static_cast<uint32_t>(arguments.Integer(1, "index", 1, INT32_MAX));
  const auto address = arguments.Bytes(2, "address");
  body.ifa_prefixlen = static_cast<uint8_t>(arguments.Unsigned(3, "prefixLength", 128));
  if (arguments.ok() && address.ByteLength() != 4 && address.ByteLength() != 16) {
    arguments.FailRange("address", "4 or 16 bytes long");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  body.ifa_family = address.ByteLength() == 16 ? AF_INET6 : AF_INET;
  NetlinkRequest request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body);
  request.Attribute(IFA_LOCAL, address.Data(), address.ByteLength());
  request.Attribute(IFA_ADDRESS, address.Data(), address.ByteLength());
  const int error = request.Perform(file->fd.get());
  if (error != 0) return ThrowSystem(info.Env(), error, "netlink", "RTM_NEWADDR");
  return info.Env().Undefined();
}

}  // namespace

void ExportNetlink(Napi::Env env, Napi::Object exports) {
  Export<Open>(env, exports, "netlinkOpen");
  Export<Get>(env, exports, "linkGet");
  Export<Set>(env, exports, "linkSet");
  Export<AddressAdd>(env, exports, "addressAdd");
}

}  // namespace vhost_net
