#ifndef VHOST_NET_PCI_PROBE_H_
#define VHOST_NET_PCI_PROBE_H_

#include <cstdint>
#include <mutex>

#include "access.h"

namespace vhost_net {

/// What a kernel looks for on the PCI bus while it starts: with AMD's processors 256 buses of 32
/// slots each (`arch/x86/kernel/aperture_64.c`), two accesses of ports for each. So an address that
/// is written waits for what is done with it, and what is not there is answered on the spot. A
/// virtual machine has one register of addresses, for all of its virtual CPUs.
class PciProbe {
 public:
  /// Which slots of bus 0 have something, bit by bit. All others, and other buses, have nothing.
  void SetSlots(uint32_t slots);
  /// Whether that was all, and `value` the answer.
  bool Serve(const Access& access, uint32_t* value);
  /// An address that waits to be passed on before another access of these ports.
  bool TakePending(const Access& next, Access* pending);

 private:
  bool absent() const;

  std::mutex lock_;
  uint32_t slots_ = UINT32_MAX;
  uint32_t address_ = 0;
  bool known_ = false;  ///< not after a part of the address was written: the bus merges those
  bool pending_ = false;
};

}  // namespace vhost_net

#endif  // VHOST_NET_PCI_PROBE_H_
