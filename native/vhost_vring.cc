#include <utility>

#include "uapi.h"
#include "vhost_ioctl.h"
#include "vhost_memory.h"

// One function per ioctl about one vring.

namespace vhost_net {
namespace {

/// A request that takes a vhost_vring_state, in and out.
template <unsigned long request>
int VringState(const FilePointer& file, uint32_t index, uint32_t* number) {
  vhost_vring_state state = {index, *number};
  const int error = VhostIoctl(file, request, state);
  *number = state.num;
  return error;
}

/// The errno for a vring that vhost-net does not have. It is found without saying anything of it:
/// other vhost devices have more, and where they lie would be known to nobody here.
int NoSuchVring(const FilePointer& file, uint32_t index) {
  uint32_t base = 0;
  return VringState<VHOST_GET_VRING_BASE>(file, index, &base) == EPERM ? EPERM : ENOBUFS;
}

/// vhostSetVringNum(vhost, index, size)
Napi::Value SetVringNum(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  const uint32_t index = arguments.Unsigned(1, "index");
  uint32_t size = arguments.Unsigned(2, "size");
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = index < kVringCount ? VringState<VHOST_SET_VRING_NUM>(file, index, &size)
                                        : NoSuchVring(file, index);
  if (error == 0) file->vrings.at(index).size = size;
  return Finish(info.Env(), error, "VHOST_SET_VRING_NUM");
}

constexpr const char* NameOf(unsigned long request) {
  switch (request) {
    case VHOST_SET_VRING_BASE:
      return "VHOST_SET_VRING_BASE";
    case VHOST_GET_VRING_BASE:
      return "VHOST_GET_VRING_BASE";
    case VHOST_SET_VRING_ENDIAN:
      return "VHOST_SET_VRING_ENDIAN";
    case VHOST_GET_VRING_ENDIAN:
      return "VHOST_GET_VRING_ENDIAN";
    case VHOST_SET_VRING_BUSYLOOP_TIMEOUT:
      return "VHOST_SET_VRING_BUSYLOOP_TIMEOUT";
    case VHOST_GET_VRING_BUSYLOOP_TIMEOUT:
      return "VHOST_GET_VRING_BUSYLOOP_TIMEOUT";
    case VHOST_SET_VRING_KICK:
      return "VHOST_SET_VRING_KICK";
    case VHOST_SET_VRING_CALL:
      return "VHOST_SET_VRING_CALL";
    default:
      return "VHOST_SET_VRING_ERR";
  }
}

/// What the number is that a request sets.
constexpr const char* ArgumentOf(unsigned long request) {
  return request == VHOST_SET_VRING_BASE     ? "base"
         : request == VHOST_SET_VRING_ENDIAN ? "endian"
                                             : "microseconds";
}

/// vhostSetVringBase, vhostSetVringEndian, vhostSetVringBusyloopTimeout (vhost, index, number)
template <unsigned long request>
Napi::Value SetNumber(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  const uint32_t index = arguments.Unsigned(1, "index");
  uint32_t number = arguments.Unsigned(2, ArgumentOf(request));
  if (!arguments.ok()) return info.Env().Undefined();
  return Finish(info.Env(), VringState<request>(file, index, &number), NameOf(request));
}

/// vhostGetVringBase, vhostGetVringEndian, vhostGetVringBusyloopTimeout (vhost, index): number
template <unsigned long request>
Napi::Value GetNumber(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  const uint32_t index = arguments.Unsigned(1, "index");
  if (!arguments.ok()) return info.Env().Undefined();
  uint32_t number = 0;
  const int error = VringState<request>(file, index, &number);
  return Finish(info.Env(), error, NameOf(request), number);
}

/// vhostSetVringAddr(vhost, index, flags, desc, used, avail, log). Flags go to the kernel as they
/// are: it refuses all but the one that asks for a log of writes to the used ring.
Napi::Value SetVringAddr(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  const uint32_t index = arguments.Unsigned(1, "index");
  vhost_vring_addr parts = {index,
                            arguments.Unsigned(2, "flags"),
                            arguments.Big(3, "desc"),
                            arguments.Big(4, "used"),
                            arguments.Big(5, "avail"),
                            arguments.Big(6, "log")};
  if (!arguments.ok()) return info.Env().Undefined();
  if (index >= kVringCount) {
    return Finish(info.Env(), NoSuchVring(file, index), "VHOST_SET_VRING_ADDR");
  }
  VringExtent vring;
  vring.size = file->vrings.at(index).size;
  vring.desc = parts.desc_user_addr;
  vring.avail = parts.avail_user_addr;
  vring.used = parts.used_user_addr;
  vring.logged = (parts.flags & (1U << VHOST_VRING_F_LOG)) != 0;
  vring.log = parts.log_guest_addr;
  if (!MayPass(&vring)) {
    arguments.FailRange("desc, used and avail", "inside pages of this package");
  } else if (LoggedEnd(vring) > file->log.end) {
    arguments.FailRange("log", "a guest address that the log covers");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = VhostIoctl(file, VHOST_SET_VRING_ADDR, parts);
  if (error == 0) file->vrings.at(index) = std::move(vring);
  return Finish(info.Env(), error, "VHOST_SET_VRING_ADDR");
}

/// A vhost_vring_file from (vhost, index, descriptor?); no descriptor means -1: unbind.
bool ReadVringFile(Arguments* arguments, FilePointer* file, vhost_vring_file* out) {
  *file = arguments->Vhost(0, "vhost");
  out->index = arguments->Unsigned(1, "index");
  out->fd = arguments->OptionalFd(2, "descriptor");
  return arguments->ok();
}

/// vhostSetVringKick, vhostSetVringCall, vhostSetVringErr (vhost, index, eventfd?)
template <unsigned long request>
Napi::Value SetVringEvent(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FilePointer file;
  vhost_vring_file event = {};
  if (!ReadVringFile(&arguments, &file, &event)) return info.Env().Undefined();
  return Finish(info.Env(), VhostIoctl(file, request, event), NameOf(request));
}

/// vhostNetSetBackend(vhost, index, backend?)
Napi::Value NetSetBackend(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  FilePointer file;
  vhost_vring_file backend = {};
  if (!ReadVringFile(&arguments, &file, &backend)) return info.Env().Undefined();
  // The moment from which the kernel uses the ring: its size may have grown since the addresses.
  const bool starts = backend.fd >= 0 && backend.index < kVringCount;
  if (starts && !MayPass(&file->vrings.at(backend.index))) {
    arguments.FailRange("the vring", "inside pages of this package (see setVringAddr)");
  } else if (starts && LoggedEnd(file->vrings.at(backend.index)) > file->log.end) {
    arguments.FailRange("the vring", "covered by the log (see setVringAddr)");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = VhostIoctl(file, VHOST_NET_SET_BACKEND, backend);
  return Finish(info.Env(), error, "VHOST_NET_SET_BACKEND");
}

}  // namespace

void ExportVhostVring(Napi::Env env, Napi::Object exports) {
  Export<SetVringNum>(env, exports, "vhostSetVringNum");
  Export<SetNumber<VHOST_SET_VRING_BASE>>(env, exports, "vhostSetVringBase");
  Export<GetNumber<VHOST_GET_VRING_BASE>>(env, exports, "vhostGetVringBase");
  Export<SetNumber<VHOST_SET_VRING_ENDIAN>>(env, exports, "vhostSetVringEndian");
  Export<GetNumber<VHOST_GET_VRING_ENDIAN>>(env, exports, "vhostGetVringEndian");
  Export<SetNumber<VHOST_SET_VRING_BUSYLOOP_TIMEOUT>>(env, exports, "vhostSetVringBusyloopTimeout");
  Export<GetNumber<VHOST_GET_VRING_BUSYLOOP_TIMEOUT>>(env, exports, "vhostGetVringBusyloopTimeout");
  Export<SetVringAddr>(env, exports, "vhostSetVringAddr");
  Export<SetVringEvent<VHOST_SET_VRING_KICK>>(env, exports, "vhostSetVringKick");
  Export<SetVringEvent<VHOST_SET_VRING_CALL>>(env, exports, "vhostSetVringCall");
  Export<SetVringEvent<VHOST_SET_VRING_ERR>>(env, exports, "vhostSetVringErr");
  Export<NetSetBackend>(env, exports, "vhostNetSetBackend");
}

}  // namespace vhost_net
