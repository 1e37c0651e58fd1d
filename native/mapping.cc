#include "mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <iterator>
#include <map>
#include <mutex>

namespace vhost_net {
namespace {

constexpr int kFixedSize = F_SEAL_SHRINK | F_SEAL_GROW;

/// Every live mapping of the process by address. Process-wide because addresses are: a
/// descriptor in one Worker may only name pages that some isolate of this process mapped.
struct Registry {
  std::mutex lock;
  std::map<uintptr_t, std::weak_ptr<Mapping>> by_address;
};

/// Never destroyed: finalizers of a Worker may still run while the process leaves main().
Registry& TheRegistry() {
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): see Registry.
  static Registry* const registry = new Registry;
  return *registry;
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): a count of the whole process.
std::atomic<size_t> range_count = 0;

/// A huge page begins at a multiple of its size. Addresses that were free a moment ago, as a wish
/// only: whoever was faster has them, and then there are a few huge pages less.
void* AlignedHint(size_t length) {
  constexpr size_t kHugePage = size_t{2} << 20;
  if (length < kHugePage) return nullptr;
  const size_t room = length + kHugePage;
  void* free = ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (free == MAP_FAILED) return nullptr;
  ::munmap(free, room);
  const auto begin = reinterpret_cast<uintptr_t>(free);
  return static_cast<char*>(free) + (kHugePage - begin % kHugePage) % kHugePage;
}

}  // namespace

AddressRange::AddressRange(void* base, size_t length) : base_(base), length_(length) {
  ++range_count;
}

AddressRange::~AddressRange() {
  ::munmap(base_, length_);
  --range_count;
}

size_t AddressRange::Count() { return range_count; }

/// In one step, so that whoever touches the addresses meanwhile finds the old pages or the new.
/// They take memory only where somebody writes. Should it fail, the old ones stay until the
/// addresses go.
void AddressRange::Vacate() {
  constexpr int kFlags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  (void)::mmap(base_, length_, PROT_READ | PROT_WRITE, kFlags, -1, 0);
}

Mapping::Mapping(std::shared_ptr<AddressRange> range, UniqueFd memfd)
    : range_(std::move(range)), memfd_(std::move(memfd)) {}

Mapping::~Mapping() {
  {
    std::lock_guard<std::mutex> guard(TheRegistry().lock);
    TheRegistry().by_address.erase(reinterpret_cast<uintptr_t>(base()));
  }
  // Alone with them, nobody needs zeros. Who is not alone now may be in a moment: then in vain.
  if (range_.use_count() > 1) range_->Vacate();
}

int Mapping::Allocate(const MappingOptions& options, std::shared_ptr<Mapping>* out) {
  UniqueFd fd;
  if (options.shared) {
    fd = UniqueFd(::memfd_create("vhost-net", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd.valid()) return errno;
    if (::ftruncate(fd.get(), static_cast<off_t>(options.length)) < 0) return errno;
    if (::fcntl(fd.get(), F_ADD_SEALS, kFixedSize) < 0) return errno;
  }
  return Map(std::move(fd), options, out);
}

int Mapping::FromFd(int fd, size_t length, std::shared_ptr<Mapping>* out) {
  // statx, because a glibc before 2.33 has no fstat to link against.
  struct statx status = {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &status) < 0) return errno;
  // A touch behind the end of the file is SIGBUS: the file must be long enough, and stay so.
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return errno;
  if ((seals & F_SEAL_SHRINK) == 0 || status.stx_size < length) return EINVAL;
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return errno;
  MappingOptions options;
  options.length = length;
  options.shared = true;
  return Map(std::move(copy), options, out);
}

int Mapping::Map(UniqueFd fd, const MappingOptions& options, std::shared_ptr<Mapping>* out) {
  // Memory for huge pages is a guest's, which may never touch most of it: it is not to be refused
  // for being more than there is now.
  const int lazily = options.huge_pages ? MAP_NORESERVE : 0;
  const int flags = fd.valid() ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | lazily;
  void* hint = options.huge_pages ? AlignedHint(options.length) : nullptr;
  void* base = ::mmap(hint, options.length, PROT_READ | PROT_WRITE, flags, fd.get(), 0);
  if (base == MAP_FAILED) return errno;
  auto range = std::make_shared<AddressRange>(base, options.length);
  auto mapping = std::make_shared<Mapping>(std::move(range), std::move(fd));
  // A forked child must not share the rings copy-on-write: the kernel would write to one side only.
  if (::madvise(base, options.length, MADV_DONTFORK) < 0) return errno;
  // Advice: without huge pages in the kernel everything works, only slower.
  if (options.huge_pages) (void)::madvise(base, options.length, MADV_HUGEPAGE);
  std::lock_guard<std::mutex> guard(TheRegistry().lock);
  TheRegistry().by_address[reinterpret_cast<uintptr_t>(base)] = mapping;
  *out = std::move(mapping);
  return 0;
}

size_t Mapping::Count() {
  std::lock_guard<std::mutex> guard(TheRegistry().lock);
  return TheRegistry().by_address.size();
}

std::shared_ptr<Mapping> Mapping::Find(uint64_t address, uint64_t length) {
  // Declared before the guard: should this turn out to be the last owner, the mapping's destructor
  // takes the lock as well, and must find it free.
  std::shared_ptr<Mapping> mapping;
  std::lock_guard<std::mutex> guard(TheRegistry().lock);
  auto& table = TheRegistry().by_address;
  auto after = table.upper_bound(address);
  if (after == table.begin()) return nullptr;
  const auto& [base, weak] = *std::prev(after);
  mapping = weak.lock();
  if (!mapping) return nullptr;
  const uint64_t offset = address - base;
  if (offset > mapping->length() || length > mapping->length() - offset) return nullptr;
  return mapping;
}

}  // namespace vhost_net
