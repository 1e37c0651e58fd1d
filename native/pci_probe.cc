#include "pci_probe.h"

namespace vhost_net {
namespace {

/// PCI's configuration mechanism 1.
constexpr uint64_t kPciAddress = 0xcf8;
constexpr uint64_t kPciData = 0xcfc;

bool IsPci(const Access& access) {
  return access.address >= kPciAddress && access.address < kPciData + 4;
}

}  // namespace

void PciProbe::SetSlots(uint32_t slots) {
  const std::lock_guard<std::mutex> guard(lock_);
  slots_ = slots;
}

bool PciProbe::absent() const {
  const uint32_t bus_and_function = address_ & 0x00ff0700;
  const uint32_t slot = address_ >> 11 & 31;
  const bool enabled = (address_ & 0x80000000) != 0;
  return known_ && enabled && (bus_and_function != 0 || (slots_ >> slot & 1) == 0);
}

bool PciProbe::Serve(const Access& access, uint32_t* value) {
  if (!IsPci(access)) return false;
  const std::lock_guard<std::mutex> guard(lock_);
  if (access.question == Question::kPortWrite && access.address < kPciData) {
    known_ = access.address == kPciAddress && access.size == 4;
    if (known_) {
      address_ = access.value;
      pending_ = true;
      return true;
    }
  }
  *value = UINT32_MAX;
  return access.address >= kPciData && absent();
}

bool PciProbe::TakePending(const Access& next, Access* pending) {
  if (!IsPci(next)) return false;
  const std::lock_guard<std::mutex> guard(lock_);
  if (!pending_) return false;
  pending_ = false;
  *pending = {Question::kPortWrite, kPciAddress, 4, address_};
  return true;
}

}  // namespace vhost_net
