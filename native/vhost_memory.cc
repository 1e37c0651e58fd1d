#include "vhost_memory.h"

#include <algorithm>
#include <utility>

namespace vhost_net {
namespace {

/// `drivers/vhost/vhost.c` VHOST_PAGE_SIZE, for each of which the log has a bit.
constexpr uint64_t kLogPage = 4096;

/// Virtio 1.3 §2.7.8 "The Virtqueue Used Ring", its event field included.
uint64_t UsedRingBytes(uint64_t size) { return 6 + 8 * size; }

bool IsUserAddress(uint64_t address) { return static_cast<int64_t>(address) >= 0; }

}  // namespace

uint64_t SaturatingAdd(uint64_t a, uint64_t b) { return a + b < a ? UINT64_MAX : a + b; }

bool MayPass(uint64_t address, uint64_t length, Shares* keep) {
  std::shared_ptr<Mapping> mapping = Mapping::Find(address, length);
  if (!mapping) return !IsUserAddress(address);
  keep->push_back(std::move(mapping));
  return true;
}

/// Virtio 1.3 §2.7 "Split Virtqueues": the parts' lengths, event fields included.
bool MayPass(VringExtent* vring) {
  const uint64_t size = vring->size;
  Shares keep;
  const bool may = MayPass(vring->desc, 16 * size, &keep) &&
                   MayPass(vring->avail, 6 + 2 * size, &keep) &&
                   MayPass(vring->used, UsedRingBytes(size), &keep);
  if (may) vring->memory = std::move(keep);
  return may;
}

bool MakeLog(uint64_t address, uint64_t length, DirtyLog* out) {
  Shares keep;
  if (!MayPass(address, length, &keep)) return false;
  *out = {};
  if (keep.empty()) return true;
  // A mapping is far too short for this to wrap.
  out->end = length * 8 * kLogPage;
  out->memory = std::move(keep.front());
  return true;
}

uint64_t LoggedEnd(const VringExtent& vring) {
  return vring.logged ? SaturatingAdd(vring.log, UsedRingBytes(vring.size)) : 0;
}

uint64_t LoggedEnd(const OpenFile& file, bool logs_all) {
  uint64_t end = logs_all ? file.table_end : 0;
  for (const VringExtent& vring : file.vrings) end = std::max(end, LoggedEnd(vring));
  return end;
}

}  // namespace vhost_net
