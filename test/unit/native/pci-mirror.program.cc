// What a vCPU's thread answers of PCI configuration accesses, driven by hand. Prints what comes
// through, and the answers of what does not.
#include <cinttypes>
#include <cstdio>

#include "../../../native/pci_mirror.h"

using vhost_net::Access;
using vhost_net::PciMirror;
using vhost_net::Question;

namespace {

constexpr uint32_t kSlot0 = 0x80000000;
constexpr uint32_t kSlot5 = 0x80002800;
constexpr uint32_t kAnswer = 0x11111111;

/// What becomes of an access: "here" with the answer of a read, or "asked", with what had to be
/// passed on before it.
void Try(PciMirror* mirror, Question question, uint64_t port, uint32_t size, uint32_t value) {
  const Access access = {question, port, size, value};
  uint32_t answer = kAnswer;
  if (mirror->Serve(access, &answer)) {
    std::printf(question == Question::kPortRead ? "here 0x%" PRIx32 "\n" : "here\n", answer);
    return;
  }
  Access pending;
  if (mirror->TakePending(access, &pending)) std::printf("after 0x%" PRIx32 ", ", pending.value);
  std::puts("asked");
}

void Write(PciMirror* mirror, uint64_t port, uint32_t size, uint32_t value) {
  Try(mirror, Question::kPortWrite, port, size, value);
}

void Read(PciMirror* mirror, uint64_t port, uint32_t size = 4) {
  Try(mirror, Question::kPortRead, port, size, 0);
}

void Address(PciMirror* mirror, uint32_t value) { Write(mirror, 0xcf8, 4, value); }

void BeforeItIsTold(PciMirror* mirror) {
  std::puts("before it is told");
  Address(mirror, kSlot5);
  Read(mirror, 0xcfc);
}

void WhatIsNotThere(PciMirror* mirror) {
  std::puts("what is not there");
  Address(mirror, kSlot5);
  Read(mirror, 0xcfc);
  Write(mirror, 0xcfc, 4, 1);
  Address(mirror, kSlot0 + 0x100);
  Read(mirror, 0xcfc);
  Address(mirror, kSlot0 + 0x10000);
  Read(mirror, 0xcfc);
}

/// Slot 0, by the byte: only the bus knows what has become of the address.
void AnAddressInParts(PciMirror* mirror) {
  std::puts("an address in parts");
  Write(mirror, 0xcf9, 1, 0);
  Read(mirror, 0xcfc);
  Read(mirror, 0xcf8);
}

void WhatIsThere(PciMirror* mirror) {
  std::puts("what is there");
  Address(mirror, kSlot0 + 0x40);
  Read(mirror, 0xcfc);
  Read(mirror, 0xcfd, 2);
  Read(mirror, 0xcff, 1);
  Address(mirror, kSlot0 + 0xfc);
  Read(mirror, 0xcfc);
}

void WhatIsAsked(PciMirror* mirror) {
  std::puts("what is asked");
  Read(mirror, 0xcff, 2);
  Write(mirror, 0xcfc, 1, 0);
  Address(mirror, kSlot0 + 0x50);
  Read(mirror, 0xcfe, 2);
  Read(mirror, 0xcfc, 2);
  Address(mirror, kSlot0 + 0x54);
  Read(mirror, 0xcfc, 1);
  Read(mirror, 0xcfe, 2);
  Address(mirror, 0x40);
  Read(mirror, 0xcfc);
}

}  // namespace

int main() {
  PciMirror mirror;
  BeforeItIsTold(&mirror);
  uint8_t bytes[PciMirror::kConfigBytes];
  for (uint32_t i = 0; i < sizeof bytes; i++) bytes[i] = static_cast<uint8_t>(i);
  mirror.Set(0, bytes, 0x52, 0x56);
  WhatIsNotThere(&mirror);
  AnAddressInParts(&mirror);
  WhatIsThere(&mirror);
  WhatIsAsked(&mirror);
  std::puts("once it has changed");
  bytes[0x40] = 0xee;
  mirror.Set(0, bytes, 0, 0);
  Address(&mirror, kSlot0 + 0x40);
  Read(&mirror, 0xcfc);
  return 0;
}
