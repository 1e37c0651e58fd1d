#include "link_events.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cerrno>

#include "addon.h"
#include "descriptor.h"
#include "link_message.h"
#include "netns.h"

// What the kernel tells of one interface without being asked.

namespace vhost_net {
namespace {

constexpr uint32_t kIndexAt = NLMSG_HDRLEN + offsetof(ifinfomsg, ifi_index);

/// Lets only what is about one interface into the socket: who does not care is not woken. The
/// kernel loads words in network order.
int Filter(int socket, uint32_t index) {
  sock_filter instructions[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kIndexAt),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(index), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog program = {sizeof instructions / sizeof instructions[0], instructions};
  return ::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

int Join(int socket) {
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  return ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

/// linkEventsOpen(index, netns?)
Napi::Value Open(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const uint32_t index = static_cast<uint32_t>(arguments.Integer(0, "index", 1, INT32_MAX));
  const int netns = arguments.OptionalFd(1, "netns");
  if (!arguments.ok()) return info.Env().Undefined();
  UniqueFd fd;
  const int type = SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK;
  const auto open = [type] { return ::socket(AF_NETLINK, type, NETLINK_ROUTE); };
  const auto [error, on_the_way] = OpenInNetns(netns, open, &fd);
  if (on_the_way != nullptr) return ThrowSystem(info.Env(), error, on_the_way, "");
  if (error != 0) return ThrowSystem(info.Env(), error, "socket", "NETLINK_ROUTE");
  if (Filter(fd.get(), index) < 0) {
    return ThrowSystem(info.Env(), errno, "setsockopt", "SO_ATTACH_FILTER");
  }
  if (Join(fd.get()) < 0) return ThrowSystem(info.Env(), errno, "bind", "RTMGRP_LINK");
  return Descriptor::Make(info.Env(), std::move(fd), FileKind::kLinkEvents);
}

/// What bridges and wireless say of an interface is not the whole of it.
bool IsWhole(const nlmsghdr& message, const Napi::Object& link) {
  const auto* about = static_cast<const ifinfomsg*>(NLMSG_DATA(&message));
  return about->ifi_family == AF_UNSPEC && link.Has("mtu") && link.Has("carrier");
}

void Append(Napi::Array events, const nlmsghdr& message) {
  const Napi::Object link = DecodeLink(events.Env(), message);
  const bool gone = message.nlmsg_type == RTM_DELLINK;
  if (!gone && !IsWhole(message, link)) return;
  if (static_cast<const ifinfomsg*>(NLMSG_DATA(&message))->ifi_family != AF_UNSPEC) return;
  if (gone) Napi::Object(link).Set("gone", true);
  events.Set(events.Length(), link);
}

/// An environment that ends has its loop turn once more, and makes no buffers any more.
bool CanMakeBuffers(napi_env env) {
  napi_value probe = nullptr;
  return napi_create_arraybuffer(env, 0, nullptr, &probe) == napi_ok;
}

}  // namespace

Napi::Value ReadLinkEvents(Napi::Env env, int socket) {
  if (!CanMakeBuffers(env)) return Napi::Value();
  const Napi::Array events = Napi::Array::New(env);
  bool lost = false;
  alignas(nlmsghdr) unsigned char bytes[32768];
  for (;;) {
    const ssize_t received = ::recv(socket, bytes, sizeof bytes, MSG_DONTWAIT);
    if (received < 0 && errno == ENOBUFS) {
      lost = true;
      continue;
    }
    if (received < 0) break;
    auto left = static_cast<unsigned int>(received);
    for (const auto* one = reinterpret_cast<const nlmsghdr*>(bytes); NLMSG_OK(one, left);
         one = NLMSG_NEXT(one, left)) {
      if (one->nlmsg_type == RTM_NEWLINK || one->nlmsg_type == RTM_DELLINK) Append(events, *one);
    }
  }
  if (lost) return env.Null();
  return events.Length() > 0 ? events.As<Napi::Value>() : Napi::Value();
}

void ExportLinkEvents(Napi::Env env, Napi::Object exports) {
  Export<Open>(env, exports, "linkEventsOpen");
}

}  // namespace vhost_net
