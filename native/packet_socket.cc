#include <arpa/inet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#include "addon.h"
#include "descriptor.h"
#include "netns.h"
#include "uapi.h"

namespace vhost_net {
namespace {

using FilePointer = std::shared_ptr<OpenFile>;

/// packetOpen(netns?): a socket that hears nothing before packetBind().
Napi::Value Open(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const int netns = arguments.OptionalFd(0, "netns");
  if (!arguments.ok()) return info.Env().Undefined();
  UniqueFd fd;
  const int type = SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK;
  const auto open = [type] { return ::socket(AF_PACKET, type, 0); };
  const auto [error, on_the_way] = OpenInNetns(netns, open, &fd);
  if (on_the_way != nullptr) return ThrowSystem(info.Env(), error, on_the_way, "");
  if (error != 0) return ThrowSystem(info.Env(), error, "socket", "AF_PACKET");
  return Descriptor::Make(info.Env(), std::move(fd));
}

/// packetBind(packet, index): from now on it hears every frame of that interface.
Napi::Value Bind(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "packet");
  sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(arguments.Integer(1, "index", 1, INT32_MAX));
  if (!arguments.ok()) return info.Env().Undefined();
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(file->fd.get(), raw, sizeof address) < 0) {
    return ThrowSystem(info.Env(), errno, "bind", "AF_PACKET");
  }
  return info.Env().Undefined();
}

/// packetGetIndex(packet): the interface that it is bound to; -1 once that is gone.
Napi::Value GetIndex(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "packet");
  if (!arguments.ok()) return info.Env().Undefined();
  sockaddr_ll address = {};
  socklen_t length = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  const int failed = ::getsockname(file->fd.get(), raw, &length);
  if (failed < 0) return ThrowSystem(info.Env(), errno, "getsockname", "AF_PACKET");
  if (address.sll_family != AF_PACKET) {
    return ThrowSystem(info.Env(), EAFNOSUPPORT, "getsockname", "AF_PACKET");
  }
  return Napi::Number::New(info.Env(), address.sll_ifindex);
}

constexpr const char* NameOf(int option) {
  switch (option) {
    case PACKET_VNET_HDR:
      return "PACKET_VNET_HDR";
    case PACKET_VNET_HDR_SZ:
      return "PACKET_VNET_HDR_SZ";
    default:
      return "PACKET_IGNORE_OUTGOING";
  }
}

/// packetSetVnetHdr, packetSetVnetHdrSize, packetSetIgnoreOutgoing (packet, value)
template <int option>
Napi::Value SetOption(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "packet");
  const int value = static_cast<int>(arguments.Unsigned(1, "value", INT32_MAX));
  if (!arguments.ok()) return info.Env().Undefined();
  if (::setsockopt(file->fd.get(), SOL_PACKET, option, &value, sizeof value) < 0) {
    return ThrowSystem(info.Env(), errno, "setsockopt", NameOf(option));
  }
  return info.Env().Undefined();
}

/// packetGetVnetHdrSize(packet)
Napi::Value GetVnetHdrSize(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "packet");
  if (!arguments.ok()) return info.Env().Undefined();
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(file->fd.get(), SOL_PACKET, PACKET_VNET_HDR_SZ, &value, &length) < 0) {
    return ThrowSystem(info.Env(), errno, "getsockopt", "PACKET_VNET_HDR_SZ");
  }
  return Napi::Number::New(info.Env(), value);
}

/// packetSetPromiscuous(packet, index): the interface takes in frames for any address for as long
/// as the socket is open.
Napi::Value SetPromiscuous(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "packet");
  packet_mreq membership = {};
  membership.mr_ifindex = static_cast<int>(arguments.Integer(1, "index", 1, INT32_MAX));
  membership.mr_type = PACKET_MR_PROMISC;
  if (!arguments.ok()) return info.Env().Undefined();
  if (::setsockopt(file->fd.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership,
                   sizeof membership) < 0) {
    return ThrowSystem(info.Env(), errno, "setsockopt", "PACKET_ADD_MEMBERSHIP");
  }
  return info.Env().Undefined();
}

/// packetSetBuffer(packet, receive, byteLength): with the right to it beyond the system's limit,
/// else up to it. What it came to.
Napi::Value SetBuffer(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "packet");
  const bool receive = arguments.Boolean(1, "receive");
  int value = static_cast<int>(arguments.Unsigned(2, "byteLength", INT32_MAX / 2));
  if (!arguments.ok()) return info.Env().Undefined();
  const int fd = file->fd.get();
  const int forced = receive ? SO_RCVBUFFORCE : SO_SNDBUFFORCE;
  const int limited = receive ? SO_RCVBUF : SO_SNDBUF;
  socklen_t length = sizeof value;
  if ((::setsockopt(fd, SOL_SOCKET, forced, &value, length) < 0 &&
       ::setsockopt(fd, SOL_SOCKET, limited, &value, length) < 0) ||
      ::getsockopt(fd, SOL_SOCKET, limited, &value, &length) < 0) {
    return ThrowSystem(info.Env(), errno, "setsockopt", receive ? "SO_RCVBUF" : "SO_SNDBUF");
  }
  return Napi::Number::New(info.Env(), value);
}

/// packetTakeError(packet): the errno that waits on the socket, which a start with it would fail
/// of.
Napi::Value TakeError(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "packet");
  if (!arguments.ok()) return info.Env().Undefined();
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(file->fd.get(), SOL_SOCKET, SO_ERROR, &value, &length) < 0) {
    return ThrowSystem(info.Env(), errno, "getsockopt", "SO_ERROR");
  }
  return Napi::Number::New(info.Env(), value);
}

/// packetTakeStatistics(packet): [frames, dropped] since the last time.
Napi::Value TakeStatistics(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "packet");
  if (!arguments.ok()) return info.Env().Undefined();
  tpacket_stats counters = {};
  socklen_t length = sizeof counters;
  if (::getsockopt(file->fd.get(), SOL_PACKET, PACKET_STATISTICS, &counters, &length) < 0) {
    return ThrowSystem(info.Env(), errno, "getsockopt", "PACKET_STATISTICS");
  }
  const Napi::Array pair = Napi::Array::New(info.Env(), 2);
  Napi::Array(pair).Set(0U, static_cast<double>(counters.tp_packets));
  Napi::Array(pair).Set(1U, static_cast<double>(counters.tp_drops));
  return pair;
}

}  // namespace

void ExportPacketSocket(Napi::Env env, Napi::Object exports) {
  Export<Open>(env, exports, "packetOpen");
  Export<Bind>(env, exports, "packetBind");
  Export<GetIndex>(env, exports, "packetGetIndex");
  Export<SetOption<PACKET_VNET_HDR>>(env, exports, "packetSetVnetHdr");
  Export<SetOption<PACKET_VNET_HDR_SZ>>(env, exports, "packetSetVnetHdrSize");
  Export<SetOption<PACKET_IGNORE_OUTGOING>>(env, exports, "packetSetIgnoreOutgoing");
  Export<GetVnetHdrSize>(env, exports, "packetGetVnetHdrSize");
  Export<SetPromiscuous>(env, exports, "packetSetPromiscuous");
  Export<SetBuffer>(env, exports, "packetSetBuffer");
  Export<TakeError>(env, exports, "packetTakeError");
  Export<TakeStatistics>(env, exports, "packetTakeStatistics");
}

}  // namespace vhost_net
