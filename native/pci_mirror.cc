#include "pci_mirror.h"

#include <algorithm>
#include <cstring>

namespace vhost_net {
namespace {

/// PCI's configuration mechanism 1.
constexpr uint64_t kPciAddress = 0xcf8;
constexpr uint64_t kPciData = 0xcfc;
constexpr uint64_t kPciEnd = kPciData + 4;

constexpr uint32_t kEnabled = 0x80000000;
constexpr uint32_t kBusAndFunction = 0x00ff0700;

bool IsPci(const Access& access) {
  return access.address >= kPciAddress && access.address < kPciEnd;
}

}  // namespace

void PciMirror::Set(uint32_t slot, const uint8_t* bytes, uint32_t asked, uint32_t asked_end) {
  const std::lock_guard<std::mutex> guard(lock_);
  Function& function = functions_[slot % kSlots];
  function.there = true;
  function.asked = asked;
  function.asked_end = asked_end;
  std::copy_n(bytes, kConfigBytes, function.bytes.begin());
  told_ = true;
}

bool PciMirror::Serve(const Access& access, uint32_t* value) {
  if (!IsPci(access)) return false;
  const std::lock_guard<std::mutex> guard(lock_);
  if (access.address < kPciData) return TakeAddress(access);
  if (!told_ || !known_ || (address_ & kEnabled) == 0) return false;
  const Function* function = Selected();
  if (function != nullptr) return Read(*function, access, value);
  *value = UINT32_MAX;
  return true;
}

bool PciMirror::TakeAddress(const Access& access) {
  if (access.question != Question::kPortWrite) return false;
  known_ = access.address == kPciAddress && access.size == 4;
  if (!known_) return false;
  address_ = access.value;
  pending_ = true;
  return true;
}

const PciMirror::Function* PciMirror::Selected() const {
  const Function& function = functions_[address_ >> 11 & (kSlots - 1)];
  return (address_ & kBusAndFunction) == 0 && function.there ? &function : nullptr;
}

bool PciMirror::Read(const Function& function, const Access& access, uint32_t* value) const {
  if (access.question != Question::kPortRead || access.address + access.size > kPciEnd)
    return false;
  const auto begin = static_cast<uint32_t>((address_ & 0xfc) + (access.address - kPciData));
  const uint32_t end = begin + access.size;
  if (begin < function.asked_end && end > function.asked) return false;
  *value = 0;
  std::memcpy(value, &function.bytes[begin], access.size);
  return true;
}

bool PciMirror::TakePending(const Access& next, Access* pending) {
  if (!IsPci(next)) return false;
  const std::lock_guard<std::mutex> guard(lock_);
  if (!pending_) return false;
  pending_ = false;
  *pending = {Question::kPortWrite, kPciAddress, 4, address_};
  return true;
}

}  // namespace vhost_net
