// The filter of PCI configuration accesses on a vCPU's thread, driven by hand. Prints what comes
// through.
#include <cstdio>

#include "../../../native/pci_probe.h"

using vhost_net::Access;
using vhost_net::PciProbe;
using vhost_net::Question;

namespace {

constexpr uint32_t kSlot0 = 0x80000000;
constexpr uint32_t kSlot5 = 0x80002800;

/// What becomes of an access: "here", or "asked", with what had to be passed on before it.
void Try(PciProbe* probe, Question question, uint64_t port, uint32_t size, uint32_t value) {
  const Access access = {question, port, size, value};
  uint32_t answer = 0;
  if (probe->Serve(access, &answer)) {
    std::puts("here");
    return;
  }
  Access pending;
  if (probe->TakePending(access, &pending)) std::printf("after 0x%x, ", pending.value);
  std::puts("asked");
}

void Write(PciProbe* probe, uint64_t port, uint32_t size, uint32_t value) {
  Try(probe, Question::kPortWrite, port, size, value);
}

void Read(PciProbe* probe, uint64_t port) { Try(probe, Question::kPortRead, port, 4, 0); }

}  // namespace

int main() {
  PciProbe probe;
  probe.SetSlots(1);
  Write(&probe, 0xcf8, 4, kSlot5);
  Read(&probe, 0xcfc);
  // Slot 0, by the byte: only the bus knows what has become of the address.
  Write(&probe, 0xcf9, 1, 0);
  Read(&probe, 0xcfc);
  Write(&probe, 0xcf8, 4, kSlot0);
  Read(&probe, 0xcfc);
  Write(&probe, 0xcf8, 4, kSlot5);
  Read(&probe, 0xcfc);
  return 0;
}
