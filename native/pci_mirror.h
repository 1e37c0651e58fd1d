#ifndef VHOST_NET_PCI_MIRROR_H_
#define VHOST_NET_PCI_MIRROR_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "access.h"

namespace vhost_net {

/// What PCI's bus 0 would answer, kept where virtual CPUs run, so that it is asked only for what
/// changes something. A kernel that starts reads each function's configuration space some hundred
/// times, and with AMD's processors looks at 256 buses of 32 slots each
/// (`arch/x86/kernel/aperture_64.c`), with two accesses of ports each time. So an address that is
/// written waits for what is done with it. A virtual machine has one register of addresses, for all
/// of its virtual CPUs.
class PciMirror {
 public:
  static constexpr size_t kConfigBytes = 256;

  /// What a slot of bus 0 has in its configuration space from now on; reads that touch
  /// [asked, asked_end) are not answered here. The first call says as well that there is nothing
  /// but what is told: other slots, other buses, other functions.
  void Set(uint32_t slot, const uint8_t* bytes, uint32_t asked, uint32_t asked_end);
  /// Whether that was all, and `value` the answer.
  bool Serve(const Access& access, uint32_t* value);
  /// An address that waits to be passed on before another access of these ports.
  bool TakePending(const Access& next, Access* pending);

 private:
  struct Function {
    bool there = false;
    uint32_t asked = 0;
    uint32_t asked_end = 0;
    std::array<uint8_t, kConfigBytes> bytes = {};
  };

  static constexpr uint32_t kSlots = 32;

  bool TakeAddress(const Access& access);
  /// The function of the address; null for what is not there.
  const Function* Selected() const;
  bool Read(const Function& function, const Access& access, uint32_t* value) const;

  std::mutex lock_;
  std::array<Function, kSlots> functions_ = {};
  bool told_ = false;  ///< before, anything may be anywhere
  uint32_t address_ = 0;
  bool known_ = false;  ///< not after a part of the address was written: the bus merges those
  bool pending_ = false;
};

}  // namespace vhost_net

#endif  // VHOST_NET_PCI_MIRROR_H_
