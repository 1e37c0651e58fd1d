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

/// Addresses that nothing else in the process can have before the last owner lets go of them.
class AddressRange {
 public:
  AddressRange(void* base, size_t length);
  ~AddressRange();
  AddressRange(const AddressRange&) = delete;
  AddressRange& operator=(const AddressRange&) = delete;

  /// How many there are in the process.
  static size_t Count();

  void* base() const { return base_; }
  size_t length() const { return length_; }
  /// Gives back the memory, and keeps the addresses: from now on they read as zeros.
  void Vacate();

 private:
  void* base_;
  size_t length_;
};

/// One mmap'd range, given back when its last owner lets go. Owners are the JavaScript wrapper,
/// every ArrayBuffer over it, and every vhost descriptor that was told an address inside it:
/// whoever is collected first, the kernel never holds an address that was given back.
///
/// A job of Node that runs on another thread (a compression, a write to a file) has a bare address
/// and keeps only the JavaScript object from being collected, which close() does not ask. So the
/// addresses are owned apart from the memory, by the ArrayBuffer object too: what such a job then
/// finds is nobody's.
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

  Mapping(std::shared_ptr<AddressRange> range, UniqueFd memfd);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  void* base() const { return range_->base(); }
  size_t length() const { return range_->length(); }
  const std::shared_ptr<AddressRange>& range() const { return range_; }
  int memfd() const { return memfd_.get(); }

 private:
  static int Map(UniqueFd fd, const MappingOptions& options, std::shared_ptr<Mapping>* out);

  std::shared_ptr<AddressRange> range_;
  UniqueFd memfd_;
};

}  // namespace vhost_net

#endif  // VHOST_NET_MAPPING_H_
