#include <sys/socket.h>

#include <string>

#include "addon.h"
#include "descriptor.h"
#include "link_message.h"
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

/// linkGet(netlink, nameOrIndex): see DecodeLink()
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
  Napi::Object link;
  const int error = request.Perform(file->fd.get(), [&link, &info](const nlmsghdr& message) {
    link = DecodeLink(info.Env(), message);
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

/// linkAddMacvtap(netlink, name, lower, mode): creates one above another interface.
Napi::Value AddMacvtap(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "netlink");
  const std::string name = arguments.String(1, "name", IFNAMSIZ - 1);
  const uint32_t lower = arguments.Unsigned(2, "lower", INT32_MAX);
  const uint32_t mode = arguments.Unsigned(3, "mode");
  if (!arguments.ok()) return info.Env().Undefined();
  NetlinkRequest request(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{});
  request.Attribute(IFLA_IFNAME, name.c_str(), name.size() + 1);
  request.Attribute(IFLA_LINK, &lower, sizeof lower);
  const char kind[] = "macvtap";
  request.Nest(IFLA_LINKINFO, [&](NetlinkRequest* outer) {
    outer->Attribute(IFLA_INFO_KIND, kind, sizeof kind);
    outer->Nest(IFLA_INFO_DATA, [&](NetlinkRequest* inner) {
      inner->Attribute(IFLA_MACVLAN_MODE, &mode, sizeof mode);
    });
  });
  const int error = request.Perform(file->fd.get());
  if (error != 0) return ThrowSystem(info.Env(), error, "netlink", "RTM_NEWLINK", name);
  return info.Env().Undefined();
}

/// linkDelete(netlink, index)
Napi::Value Delete(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "netlink");
  ifinfomsg body = {};
  body.ifi_index = static_cast<int>(arguments.Integer(1, "index", 1, INT32_MAX));
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = NetlinkRequest(RTM_DELLINK, NLM_F_ACK, body).Perform(file->fd.get());
  if (error != 0) return ThrowSystem(info.Env(), error, "netlink", "RTM_DELLINK");
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
  Export<AddMacvtap>(env, exports, "linkAddMacvtap");
  Export<Delete>(env, exports, "linkDelete");
  Export<AddressAdd>(env, exports, "addressAdd");
}

}  // namespace vhost_net
