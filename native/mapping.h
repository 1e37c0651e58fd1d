#ifndef VHOST_NET_MAPPING_H_
#define VHOST_NET_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "unique_fd.h"

namespace vhost_net {

/// How pages are to be mapped.
struct MappingOptions {
  size_t length = 0;
  bool shared = false;      ///< memfd-backed, so that another thread or process can map it too
  bool huge_pages = false;  ///< MADV_HUGEPAGE
};

/// One mmap'd range, unmapped when its last owner lets go. Owners are the JavaScript wrapper, every
/// ArrayBuffer over it, and every vhost descriptor that was told an address inside it: whoever
/// is collected first, the kernel never holds an address that was given back.
class Mapping {
 public:
  /// 0, or the errno.
  static int Allocate(const MappingOptions& options, std::shared_ptr<Mapping>* out);
  /// Maps a memfd once more. 0, or the errno.
  static int FromFd(int fd, size_t length, std::shared_ptr<Mapping>* out);
  /// How many there are in the process, whichever environment made them.
  static size_t Count();
  /// The mapping that holds every byte of [address, address + length), or none.
  static std::shared_ptr<Mapping> Find(uint64_t address, uint64_t length);

  Mapping(void* base, size_t length, UniqueFd memfd);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  void* base() const { return base_; }
  size_t length() const { return length_; }
  int memfd() const { return memfd_.get(); }

 private:
  static int Map(UniqueFd fd, const MappingOptions& options, std::shared_ptr<Mapping>* out);

  void* base_;
  size_t length_;
  UniqueFd memfd_;
};

}  // namespace vhost_net

#endif  // VHOST_NET_MAPPING_H_
