#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "addon.h"
#include "uapi.h"
#include "worker_thread.h"

// One function per vhost ioctl: mechanism only. What JavaScript may do in which order is decided by
// the kernel and by lib/, with one exception: no address that the kernel would use may lie outside
// pages that this addon mapped, or a wrong number would let the kernel write into the process.

namespace vhost_net {
namespace {

using FilePointer = std::shared_ptr<OpenFile>;

/// 0, or the errno. Refuses const: most requests are in and out, and through a const argument an
/// optimiser may keep the old value. EINTR is not retried: no vhost ioctl returns it.
template <typename Argument>
[[nodiscard]] int VhostIoctl(int fd, unsigned long request, Argument& inout) {
  static_assert(!std::is_const_v<Argument>);
  return ::ioctl(fd, request, &inout) < 0 ? errno : 0;
}

/// What vhost-net answers for a vring that it does not have. Other vhost devices have more: where
/// they lie would be known to nobody here.
constexpr int kNoSuchVring = ENOBUFS;

Napi::Value Finish(Napi::Env env, int error, const char* request) {
  if (error != 0) return ThrowSystem(env, error, "ioctl", request);
  return env.Undefined();
}

/// The kernel refuses addresses of its own half by itself (EFAULT); those may pass.
bool IsUserAddress(uint64_t address) { return static_cast<int64_t>(address) >= 0; }

/// True when the range is ours, and then `keep` holds a share of it, or the kernel's to refuse.
bool MayPass(uint64_t address, uint64_t length, std::vector<std::shared_ptr<Mapping>>* keep) {
  std::shared_ptr<Mapping> mapping = Mapping::Find(address, length);
  if (!mapping) return !IsUserAddress(address);
  keep->push_back(std::move(mapping));
  return true;
}

/// Virtio 1.3 §2.7 "Split Virtqueues": the parts' lengths, event fields included.
bool MayPass(VringExtent* vring) {
  const uint64_t size = vring->size;
  std::vector<std::shared_ptr<Mapping>> keep;
  const bool may = MayPass(vring->desc, 16 * size, &keep) &&
                   MayPass(vring->avail, 6 + 2 * size, &keep) &&
                   MayPass(vring->used, 6 + 8 * size, &keep);
  if (may) vring->memory = std::move(keep);
  return may;
}

/// vhostSetOwner(vhost): the worker's tid, 0 when it can't be known.
Napi::Value SetOwner(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "vhost");
  if (!arguments.ok()) return info.Env().Undefined();
  pid_t worker = 0;
  const int error = FindNewWorker(
      [&file] { return ::ioctl(file->fd.get(), VHOST_SET_OWNER) < 0 ? errno : 0; }, &worker);
  if (error != 0) return ThrowSystem(info.Env(), error, "ioctl", "VHOST_SET_OWNER");
  return Napi::Number::New(info.Env(), worker);
}

/// vhostGetFeatures(vhost): bigint
Napi::Value GetFeatures(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "vhost");
  if (!arguments.ok()) return info.Env().Undefined();
  uint64_t features = 0;
  const int error = VhostIoctl(file->fd.get(), VHOST_GET_FEATURES, features);
  if (error != 0) return ThrowSystem(info.Env(), error, "ioctl", "VHOST_GET_FEATURES");
  return Napi::BigInt::New(info.Env(), features);
}

/// vhostSetFeatures(vhost, features: bigint). Without the log of dirty pages: no request of this
/// addon says where it lies, so the worker would set its bits at addresses counted from 0, which
/// descriptors and memory table choose.
Napi::Value SetFeatures(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "vhost");
  uint64_t features = arguments.Big(1, "features");
  if ((features >> VHOST_F_LOG_ALL & 1) != 0) {
    arguments.FailRange("features", "without VHOST_F_LOG_ALL");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = VhostIoctl(file->fd.get(), VHOST_SET_FEATURES, features);
  return Finish(info.Env(), error, "VHOST_SET_FEATURES");
}

/// An element, empty when an accessor threw. Raw, because the exception may be anything, and must
/// stay pending untouched.
Napi::Value Element(const Napi::Array& array, uint32_t index) {
  napi_value element = nullptr;
  if (napi_get_element(array.Env(), array, index, &element) != napi_ok) return Napi::Value();
  return Napi::Value(array.Env(), element);
}

/// One row of the table: [guestAddress, byteLength, hostAddress], all bigint.
bool ReadRegion(const Napi::Value& value, vhost_memory_region* region) {
  if (!value.IsArray() || value.As<Napi::Array>().Length() != 3) return false;
  uint64_t numbers[3];
  for (uint32_t i = 0; i < 3; i++) {
    const Napi::Value number = Element(value.As<Napi::Array>(), i);
    bool lossless = false;
    if (number.IsBigInt()) numbers[i] = number.As<Napi::BigInt>().Uint64Value(&lossless);
    if (!lossless) return false;
  }
  *region = {numbers[0], numbers[1], numbers[2], 0};
  return true;
}

/// vhostSetMemTable(vhost, rows)
Napi::Value SetMemTable(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "vhost");
  const Napi::Array rows = arguments.Array(1, "regions");
  if (!arguments.ok()) return info.Env().Undefined();
  const uint32_t count = rows.Length();
  if (count > UINT16_MAX) arguments.FailRange("regions", "at most 65535 regions");
  // 64-bit words, so that the flexible array of 64-bit fields behind the header is aligned.
  static_assert(sizeof(vhost_memory_region) == 4 * sizeof(uint64_t));
  std::vector<uint64_t> words(arguments.ok() ? 1 + 4 * size_t{count} : 1);
  auto* table = reinterpret_cast<vhost_memory*>(words.data());
  std::vector<std::shared_ptr<Mapping>> keep;
  for (uint32_t i = 0; arguments.ok() && i < count; i++) {
    vhost_memory_region* region = table->regions + i;
    if (!ReadRegion(Element(rows, i), region)) {
      arguments.FailType("regions", "rows of [guestAddress, byteLength, hostAddress] as bigint");
    } else if (!MayPass(region->userspace_addr, region->memory_size, &keep)) {
      arguments.FailRange("regions", "inside pages of this package");
    }
  }
  if (!arguments.ok()) return info.Env().Undefined();
  table->nregions = count;
  const int error = VhostIoctl(file->fd.get(), VHOST_SET_MEM_TABLE, *table);
  if (error == 0) file->memory_table = std::move(keep);
  return Finish(info.Env(), error, "VHOST_SET_MEM_TABLE");
}

/// The three requests that take a vhost_vring_state, in and out.
template <unsigned long request>
int VringState(const FilePointer& file, uint32_t index, uint32_t* number) {
  vhost_vring_state state = {index, *number};
  const int error = VhostIoctl(file->fd.get(), request, state);
  *number = state.num;
  return error;
}

/// vhostSetVringNum(vhost, index, size)
Napi::Value SetVringNum(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "vhost");
  const uint32_t index = arguments.Unsigned(1, "index");
  uint32_t size = arguments.Unsigned(2, "size");
  if (!arguments.ok()) return info.Env().Undefined();
  const int error =
      index < kVringCount ? VringState<VHOST_SET_VRING_NUM>(file, index, &size) : kNoSuchVring;
  if (error == 0) file->vrings.at(index).size = size;
  return Finish(info.Env(), error, "VHOST_SET_VRING_NUM");
}

/// vhostSetVringBase(vhost, index, base)
Napi::Value SetVringBase(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "vhost");
  const uint32_t index = arguments.Unsigned(1, "index");
  uint32_t base = arguments.Unsigned(2, "base");
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = VringState<VHOST_SET_VRING_BASE>(file, index, &base);
  return Finish(info.Env(), error, "VHOST_SET_VRING_BASE");
}

/// vhostSetVringBusyloopTimeout(vhost, index, microseconds)
Napi::Value SetVringBusyloopTimeout(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "vhost");
  const uint32_t index = arguments.Unsigned(1, "index");
  uint32_t microseconds = arguments.Unsigned(2, "microseconds");
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = VringState<VHOST_SET_VRING_BUSYLOOP_TIMEOUT>(file, index, &microseconds);
  return Finish(info.Env(), error, "VHOST_SET_VRING_BUSYLOOP_TIMEOUT");
}

/// vhostGetVringBusyloopTimeout(vhost, index): number
Napi::Value GetVringBusyloopTimeout(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "vhost");
  const uint32_t index = arguments.Unsigned(1, "index");
  if (!arguments.ok()) return info.Env().Undefined();
  uint32_t microseconds = 0;
  const int error = VringState<VHOST_GET_VRING_BUSYLOOP_TIMEOUT>(file, index, &microseconds);
  if (error != 0) {
    return ThrowSystem(info.Env(), error, "ioctl", "VHOST_GET_VRING_BUSYLOOP_TIMEOUT");
  }
  return Napi::Number::New(info.Env(), microseconds);
}

/// vhostGetVringBase(vhost, index): number
Napi::Value GetVringBase(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "vhost");
  const uint32_t index = arguments.Unsigned(1, "index");
  if (!arguments.ok()) return info.Env().Undefined();
  uint32_t base = 0;
  const int error = VringState<VHOST_GET_VRING_BASE>(file, index, &base);
  if (error != 0) return ThrowSystem(info.Env(), error, "ioctl", "VHOST_GET_VRING_BASE");
  return Napi::Number::New(info.Env(), base);
}

/// vhostSetVringAddr(vhost, index, flags, desc, used, avail, log). The only flag there is asks for
/// a log.
Napi::Value SetVringAddr(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.File(0, "vhost");
  const uint32_t index = arguments.Unsigned(1, "index");
  vhost_vring_addr parts = {index,
                            arguments.Unsigned(2, "flags", 0),
                            arguments.Big(3, "desc"),
                            arguments.Big(4, "used"),
                            arguments.Big(5, "avail"),
                            arguments.Big(6, "log")};
  if (!arguments.ok()) return info.Env().Undefined();
  if (index >= kVringCount) return Finish(info.Env(), kNoSuchVring, "VHOST_SET_VRING_ADDR");
  VringExtent vring;
  vring.size = file->vrings.at(index).size;
  vring.desc = parts.desc_user_addr;
  vring.avail = parts.avail_user_addr;
  vring.used = parts.used_user_addr;
  if (!MayPass(&vring)) arguments.FailRange("desc, used and avail", "inside pages of this package");
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = VhostIoctl(file->fd.get(), VHOST_SET_VRING_ADDR, parts);
  if (error == 0) file->vrings.at(index) = std::move(vring);
  return Finish(info.Env(), error, "VHOST_SET_VRING_ADDR");
}

/// A vhost_vring_file from (vhost, index, descriptor?); no descriptor means -1: unbind.
bool ReadVringFile(Arguments* arguments, FilePointer* file, vhost_vring_file* out) {
  *file = arguments->File(0, "vhost");
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
  const char* name = request == VHOST_SET_VRING_KICK   ? "VHOST_SET_VRING_KICK"
                     : request == VHOST_SET_VRING_CALL ? "VHOST_SET_VRING_CALL"
                                                       : "VHOST_SET_VRING_ERR";
  return Finish(info.Env(), VhostIoctl(file->fd.get(), request, event), name);
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
    return info.Env().Undefined();
  }
  const int error = VhostIoctl(file->fd.get(), VHOST_NET_SET_BACKEND, backend);
  return Finish(info.Env(), error, "VHOST_NET_SET_BACKEND");
}

}  // namespace

void ExportVhost(Napi::Env env, Napi::Object exports) {
  Export<SetOwner>(env, exports, "vhostSetOwner");
  Export<GetFeatures>(env, exports, "vhostGetFeatures");
  Export<SetFeatures>(env, exports, "vhostSetFeatures");
  Export<SetMemTable>(env, exports, "vhostSetMemTable");
  Export<SetVringNum>(env, exports, "vhostSetVringNum");
  Export<SetVringBase>(env, exports, "vhostSetVringBase");
  Export<GetVringBase>(env, exports, "vhostGetVringBase");
  Export<SetVringBusyloopTimeout>(env, exports, "vhostSetVringBusyloopTimeout");
  Export<GetVringBusyloopTimeout>(env, exports, "vhostGetVringBusyloopTimeout");
  Export<SetVringAddr>(env, exports, "vhostSetVringAddr");
  Export<SetVringEvent<VHOST_SET_VRING_KICK>>(env, exports, "vhostSetVringKick");
  Export<SetVringEvent<VHOST_SET_VRING_CALL>>(env, exports, "vhostSetVringCall");
  Export<SetVringEvent<VHOST_SET_VRING_ERR>>(env, exports, "vhostSetVringErr");
  Export<NetSetBackend>(env, exports, "vhostNetSetBackend");
}

}  // namespace vhost_net
