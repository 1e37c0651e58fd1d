#include <fcntl.h>

#include <climits>
#include <string>
#include <utility>
#include <vector>

#include "descriptor.h"
#include "key_rights.h"
#include "uapi.h"
#include "vhost_ioctl.h"
#include "vhost_memory.h"
#include "worker_thread.h"

// One function per ioctl about a whole vhost device: mechanism only. What JavaScript may do in
// which order is decided by the kernel and by lib/, with one exception: see vhost_memory.h.

namespace vhost_net {
namespace {

/// vhostOpen(path): the device; only such a descriptor takes the requests below.
Napi::Value Open(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const std::string path = arguments.String(0, "path", PATH_MAX);
  if (!arguments.ok()) return info.Env().Undefined();
  // Not blocking: a FIFO in its place would keep the event loop for ever.
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd.valid()) return ThrowSystem(info.Env(), errno, "open", "", path);
  return Descriptor::Make(info.Env(), std::move(fd), FileKind::kVhost);
}

/// The worker inherits the rights of the thread that calls for it.
int BecomeOwner(const FilePointer& file) {
  const WorkerRights rights;
  return VhostIoctl(file, VHOST_SET_OWNER);
}

/// vhostSetOwner(vhost): the worker's tid, 0 when it can't be known.
Napi::Value SetOwner(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  if (!arguments.ok()) return info.Env().Undefined();
  pid_t worker = 0;
  const int error = FindNewWorker([&file] { return BecomeOwner(file); }, &worker);
  if (error == 0) file->worker = worker;
  return Finish(info.Env(), error, "VHOST_SET_OWNER", worker);
}

/// What the kernel forgets with the owner need not be kept for it any longer.
void Forget(OpenFile* file) {
  file->memory_table.clear();
  file->table_end = 0;
  file->vrings = {};
  file->log = {};
  file->logs_all = false;
  file->worker = 0;
}

/// vhostResetOwner(vhost)
Napi::Value ResetOwner(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = VhostIoctl(file, VHOST_RESET_OWNER);
  if (error == 0) Forget(file.get());
  return Finish(info.Env(), error, "VHOST_RESET_OWNER");
}

/// vhostSetForkFromOwner(vhost, mode). The kernel reads one byte; one without this request reads
/// the four of a vring's index first, so more than one byte is there to be read.
Napi::Value SetForkFromOwner(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  uint64_t mode = arguments.Unsigned(1, "mode", UINT8_MAX);
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = VhostIoctl(file, VHOST_SET_FORK_FROM_OWNER, mode);
  if (error == 0 && mode == VHOST_FORK_OWNER_KTHREAD) ExpectKernelThreads();
  return Finish(info.Env(), error, "VHOST_SET_FORK_FROM_OWNER");
}

/// vhostGetForkFromOwner(vhost): number
Napi::Value GetForkFromOwner(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  if (!arguments.ok()) return info.Env().Undefined();
  uint64_t mode = 0;  // see SetForkFromOwner
  const int error = VhostIoctl(file, VHOST_GET_FORK_FROM_OWNER, mode);
  return Finish(info.Env(), error, "VHOST_GET_FORK_FROM_OWNER", static_cast<double>(mode));
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

/// A memory table as the kernel takes it, and what must be kept for it.
struct MemoryTable {
  /// 64-bit words, so that the flexible array of 64-bit fields behind the header is aligned.
  std::vector<uint64_t> words;
  Shares keep;
  uint64_t end = 0;

  vhost_memory* header() { return reinterpret_cast<vhost_memory*>(words.data()); }
};

/// Reads rows until one does not fit.
void ReadTable(Arguments* arguments, const Napi::Array& rows, MemoryTable* table) {
  static_assert(sizeof(vhost_memory_region) == 4 * sizeof(uint64_t));
  const uint32_t count = rows.Length();
  if (count > UINT16_MAX) arguments->FailRange("regions", "at most 65535 regions");
  if (!arguments->ok()) return;
  table->words.resize(1 + 4 * size_t{count});
  table->header()->nregions = count;
  for (uint32_t i = 0; arguments->ok() && i < count; i++) {
    vhost_memory_region* region = table->header()->regions + i;
    if (!ReadRegion(Element(rows, i), region)) {
      arguments->FailType("regions", "rows of [guestAddress, byteLength, hostAddress] as bigint");
    } else if (region->memory_size == 0) {
      // At guest address 0 the kernel would take it for a row of 2^64 bytes.
      arguments->FailRange("regions", "of at least one byte each");
    } else if (!MayPass(region->userspace_addr, region->memory_size, &table->keep)) {
      arguments->FailRange("regions", "inside pages of this package");
    }
    const uint64_t end = SaturatingAdd(region->guest_phys_addr, region->memory_size);
    if (end > table->end) table->end = end;
  }
}

/// vhostSetMemTable(vhost, rows)
Napi::Value SetMemTable(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  const Napi::Array rows = arguments.Array(1, "regions");
  if (!arguments.ok()) return info.Env().Undefined();
  MemoryTable table;
  ReadTable(&arguments, rows, &table);
  if (arguments.ok() && file->logs_all && table.end > file->log.end) {
    arguments.FailRange("regions", "covered by the log while VHOST_F_LOG_ALL is in force");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = VhostIoctl(file, VHOST_SET_MEM_TABLE, *table.header());
  if (error == 0) {
    file->memory_table = std::move(table.keep);
    file->table_end = table.end;
  }
  return Finish(info.Env(), error, "VHOST_SET_MEM_TABLE");
}

/// vhostSetLogBase(vhost, address, byteLength)
Napi::Value SetLogBase(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  uint64_t address = arguments.Big(1, "address");
  const uint64_t length = arguments.Big(2, "byteLength");
  if (!arguments.ok()) return info.Env().Undefined();
  DirtyLog log;
  if (!MakeLog(address, length, &log)) {
    arguments.FailRange("the log", "inside pages of this package");
  } else if (LoggedEnd(*file, file->logs_all) > log.end) {
    arguments.FailRange("the log", "long enough for what is being logged");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = VhostIoctl(file, VHOST_SET_LOG_BASE, address);
  if (error == 0) file->log = std::move(log);
  return Finish(info.Env(), error, "VHOST_SET_LOG_BASE");
}

/// vhostSetLogFd(vhost, eventfd?)
Napi::Value SetLogFd(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  int fd = arguments.OptionalFd(1, "eventfd");
  if (!arguments.ok()) return info.Env().Undefined();
  return Finish(info.Env(), VhostIoctl(file, VHOST_SET_LOG_FD, fd), "VHOST_SET_LOG_FD");
}

}  // namespace

void ExportVhost(Napi::Env env, Napi::Object exports) {
  Export<Open>(env, exports, "vhostOpen");
  Export<SetOwner>(env, exports, "vhostSetOwner");
  Export<ResetOwner>(env, exports, "vhostResetOwner");
  Export<SetForkFromOwner>(env, exports, "vhostSetForkFromOwner");
  Export<GetForkFromOwner>(env, exports, "vhostGetForkFromOwner");
  Export<SetMemTable>(env, exports, "vhostSetMemTable");
  Export<SetLogBase>(env, exports, "vhostSetLogBase");
  Export<SetLogFd>(env, exports, "vhostSetLogFd");
}

}  // namespace vhost_net
