#ifndef VHOST_NET_OPEN_FILE_H_
#define VHOST_NET_OPEN_FILE_H_

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "mapping.h"
#include "unique_fd.h"

namespace vhost_net {

class PciMirror;

/// What the kernel was told about one vring: enough to know which bytes it may touch.
struct VringExtent {
  uint32_t size = 1;  // vhost's own initial value
  uint64_t desc = 0;
  uint64_t avail = 0;
  uint64_t used = 0;
  bool logged = false;  ///< whether writes to the used ring are logged, as if it lay at `log`
  uint64_t log = 0;
  std::vector<std::shared_ptr<Mapping>> memory;
};

/// Where vhost marks the pages that it wrote: one bit for each 4 KiB of guest addresses, from 0 on.
struct DirtyLog {
  uint64_t end = 0;  ///< the first guest address without a bit
  std::shared_ptr<Mapping> memory;
};

/// vhost-net has two vrings on each descriptor: 0 = receive, 1 = transmit.
constexpr uint32_t kVringCount = 2;

/// What is known of an open file. Reading and writing eight bytes is for eventfds: on anything else
/// it would wait for ever, or take and leave what belongs to somebody; what tells of an interface
/// is read by its watcher alone. Requests of vhost and KVM are for what was opened for them, and of
/// which there is no duplicate: what the kernel was told by way of another descriptor nobody here
/// would know.
enum class FileKind { kEventFd, kLinkEvents, kVhost, kKvm, kVm, kOther };

/// A descriptor and what must outlive it. Shared by the JavaScript wrapper and by a watcher, so
/// that neither can close it under the other.
struct OpenFile {
  explicit OpenFile(UniqueFd owned, FileKind is = FileKind::kOther)
      : fd(std::move(owned)), kind(is) {}

  // Members go in reverse order: the descriptor closes first, which stops the vhost worker; only
  // then may the pages that the worker used be unmapped.
  std::vector<std::shared_ptr<Mapping>> memory_table;
  uint64_t table_end = 0;  ///< behind the last guest address in the table
  std::array<VringExtent, kVringCount> vrings;
  DirtyLog log;
  bool logs_all = false;  ///< whether VHOST_F_LOG_ALL is in force
  pid_t worker = 0;       ///< 0: none, or it can't be known which
  /// What a virtual machine has for memory, by slot. Its virtual CPUs hold this whole file.
  std::map<uint32_t, std::shared_ptr<Mapping>> slots;
  std::shared_ptr<PciMirror> pci;  ///< of a virtual machine that has virtual CPUs
  UniqueFd fd;
  FileKind kind;
};

}  // namespace vhost_net

#endif  // VHOST_NET_OPEN_FILE_H_
