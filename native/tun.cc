#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <vector>

#include "addon.h"
#include "descriptor.h"
#include "netns.h"
#include "uapi.h"

namespace vhost_net {
namespace {

using FilePointer = std::shared_ptr<OpenFile>;

constexpr char kTunPath[] = "/dev/net/tun";

/// An ifreq with the name filled in. Names are at most IFNAMSIZ - 1 bytes: checked by the caller.
ifreq Named(const std::string& name) {
  ifreq request = {};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

/// tunOpen(netns?): opens the control device; the interface it makes will live in that namespace.
Napi::Value Open(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const int netns = arguments.OptionalFd(0, "netns");
  if (!arguments.ok()) return info.Env().Undefined();
  UniqueFd fd;
  const auto open = [] { return ::open(kTunPath, O_RDWR | O_CLOEXEC | O_NONBLOCK); };
  const auto [error, on_the_way] = OpenInNetns(netns, open, &fd);
  if (on_the_way != nullptr) return ThrowSystem(info.Env(), error, on_the_way, "");
  if (error != 0) return ThrowSystem(info.Env(), error, "open", "", kTunPath);
  return Descriptor::Make(info.Env(), std::move(fd));
}

/// tunSetIff(tun, name, flags): the interface's name; `name` may hold %d, then the kernel chooses.
Napi::Value SetIff(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "tun");
  const std::string name = arguments.String(1, "name", IFNAMSIZ - 1);
  const uint32_t flags = arguments.Unsigned(2, "flags", UINT16_MAX);
  if (!arguments.ok()) return info.Env().Undefined();
  ifreq request = Named(name);
  std::memcpy(&request.ifr_flags, &flags, sizeof request.ifr_flags);  // 16 bits, little-endian
  if (::ioctl(file->fd.get(), TUNSETIFF, &request) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl", "TUNSETIFF");
  }
  return Napi::String::New(info.Env(), request.ifr_name);
}

/// tunGetIff(tun): [name, flags]
Napi::Value GetIff(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "tun");
  if (!arguments.ok()) return info.Env().Undefined();
  ifreq request = {};
  if (::ioctl(file->fd.get(), TUNGETIFF, &request) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl", "TUNGETIFF");
  }
  Napi::Array pair = Napi::Array::New(info.Env(), 2);
  pair.Set(0U, request.ifr_name);
  pair.Set(1U, static_cast<double>(static_cast<uint16_t>(request.ifr_flags)));
  return pair;
}

/// Requests whose argument is a pointer to an int that the kernel reads.
template <unsigned long request>
Napi::Value SetInt(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "tun");
  int value = static_cast<int>(arguments.Integer(1, "value", INT_MIN, INT_MAX));
  if (!arguments.ok()) return info.Env().Undefined();
  if (::ioctl(file->fd.get(), request, &value) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl",
                       request == TUNSETVNETHDRSZ ? "TUNSETVNETHDRSZ"
                       : request == TUNSETSNDBUF  ? "TUNSETSNDBUF"
                                                  : "TUNSETCARRIER");
  }
  return info.Env().Undefined();
}

/// Requests whose argument is the number itself.
template <unsigned long request>
Napi::Value SetValue(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "tun");
  const uint32_t value = arguments.Unsigned(1, "value");
  if (!arguments.ok()) return info.Env().Undefined();
  if (::ioctl(file->fd.get(), request, static_cast<unsigned long>(value)) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl",
                       request == TUNSETOFFLOAD   ? "TUNSETOFFLOAD"
                       : request == TUNSETPERSIST ? "TUNSETPERSIST"
                       : request == TUNSETOWNER   ? "TUNSETOWNER"
                                                  : "TUNSETGROUP");
  }
  return info.Env().Undefined();
}

/// Requests that fill in an int.
template <unsigned long request>
Napi::Value GetInt(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "tun");
  if (!arguments.ok()) return info.Env().Undefined();
  int value = 0;
  if (::ioctl(file->fd.get(), request, &value) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl",
                       request == TUNGETVNETHDRSZ ? "TUNGETVNETHDRSZ"
                       : request == TUNGETSNDBUF  ? "TUNGETSNDBUF"
                                                  : "TUNGETFEATURES");
  }
  return Napi::Number::New(info.Env(), value);
}

/// tunSetQueue(tun, attached): whether the interface steers frames to this queue of it.
Napi::Value SetQueue(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "tun");
  const bool attached = arguments.Boolean(1, "attached");
  if (!arguments.ok()) return info.Env().Undefined();
  ifreq request = {};
  request.ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
  if (::ioctl(file->fd.get(), TUNSETQUEUE, &request) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl", "TUNSETQUEUE");
  }
  return info.Env().Undefined();
}

/// tunSetSteering(tun, program?): an eBPF program chooses the queue; without one the kernel does.
Napi::Value SetSteering(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "tun");
  int program = arguments.OptionalFd(1, "program");
  if (!arguments.ok()) return info.Env().Undefined();
  if (::ioctl(file->fd.get(), TUNSETSTEERINGEBPF, &program) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl", "TUNSETSTEERINGEBPF");
  }
  return info.Env().Undefined();
}

/// tunSetFilter(tun, program?): a classic BPF program (struct sock_filter, one behind the other)
/// that sees every frame for us; without one all of them come.
Napi::Value SetFilter(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "tun");
  const bool attach = arguments.Has(1);
  const auto bytes = attach ? arguments.Bytes(1, "program") : Napi::Uint8Array();
  const size_t length = arguments.ok() && attach ? bytes.ByteLength() : 0;
  if (attach && (length % sizeof(sock_filter) != 0 || length / sizeof(sock_filter) > UINT16_MAX)) {
    arguments.FailRange("program", "whole instructions, at most 65535 of them");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  std::vector<sock_filter> instructions(length / sizeof(sock_filter));
  if (length > 0) std::memcpy(instructions.data(), bytes.Data(), length);
  sock_fprog program = {static_cast<uint16_t>(instructions.size()), instructions.data()};
  const auto request = attach ? TUNATTACHFILTER : TUNDETACHFILTER;
  if (::ioctl(file->fd.get(), request, &program) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl", attach ? "TUNATTACHFILTER" : "TUNDETACHFILTER");
  }
  return info.Env().Undefined();
}

/// tunSetTxFilter(tun, flags, addresses): which frames are for us, by the addresses (6 bytes each,
/// one behind the other) that they are sent to; without any all of them. How many of the addresses
/// the kernel compares as they are: 0 when all frames come.
Napi::Value SetTxFilter(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "tun");
  const uint32_t flags = arguments.Unsigned(1, "flags", UINT16_MAX);
  const auto bytes = arguments.Bytes(2, "addresses");
  const size_t length = arguments.ok() ? bytes.ByteLength() : 0;
  if (length % ETH_ALEN != 0 || length / ETH_ALEN > UINT16_MAX) {
    arguments.FailRange("addresses", "whole addresses, at most 65535 of them");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  tun_filter header = {};
  header.flags = static_cast<uint16_t>(flags);
  header.count = static_cast<uint16_t>(length / ETH_ALEN);
  std::vector<uint8_t> filter(sizeof header + length);
  std::memcpy(filter.data(), &header, sizeof header);
  if (length > 0) std::memcpy(filter.data() + sizeof header, bytes.Data(), length);
  const int exact = ::ioctl(file->fd.get(), TUNSETTXFILTER, filter.data());
  if (exact < 0) return ThrowSystem(info.Env(), errno, "ioctl", "TUNSETTXFILTER");
  return Napi::Number::New(info.Env(), exact);
}

/// tunGetNetns(tun): a descriptor of the namespace that the interface lives in.
Napi::Value GetNetns(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "tun");
  if (!arguments.ok()) return info.Env().Undefined();
  UniqueFd fd(::ioctl(file->fd.get(), TUNGETDEVNETNS));
  if (!fd.valid()) return ThrowSystem(info.Env(), errno, "ioctl", "TUNGETDEVNETNS");
  return Descriptor::Make(info.Env(), std::move(fd));
}

}  // namespace

void ExportTun(Napi::Env env, Napi::Object exports) {
  Export<Open>(env, exports, "tunOpen");
  Export<SetIff>(env, exports, "tunSetIff");
  Export<GetIff>(env, exports, "tunGetIff");
  Export<GetNetns>(env, exports, "tunGetNetns");
  Export<SetQueue>(env, exports, "tunSetQueue");
  Export<SetSteering>(env, exports, "tunSetSteering");
  Export<SetFilter>(env, exports, "tunSetFilter");
  Export<SetTxFilter>(env, exports, "tunSetTxFilter");
  Export<SetInt<TUNSETVNETHDRSZ>>(env, exports, "tunSetVnetHdrSize");
  Export<SetInt<TUNSETSNDBUF>>(env, exports, "tunSetSendBuffer");
  Export<SetInt<TUNSETCARRIER>>(env, exports, "tunSetCarrier");
  Export<SetValue<TUNSETOFFLOAD>>(env, exports, "tunSetOffload");
  Export<SetValue<TUNSETPERSIST>>(env, exports, "tunSetPersist");
  Export<SetValue<TUNSETOWNER>>(env, exports, "tunSetOwner");
  Export<SetValue<TUNSETGROUP>>(env, exports, "tunSetGroup");
  Export<GetInt<TUNGETVNETHDRSZ>>(env, exports, "tunGetVnetHdrSize");
  Export<GetInt<TUNGETSNDBUF>>(env, exports, "tunGetSendBuffer");
  Export<GetInt<TUNGETFEATURES>>(env, exports, "tunGetFeatures");
}

}  // namespace vhost_net
