#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <climits>
#include <vector>

#include "addon.h"
#include "descriptor.h"
#include "uapi_kvm.h"

// KVM itself and one virtual machine of it: one function per ioctl. Virtual CPUs are in vcpu.cc.

namespace vhost_net {

#ifdef __x86_64__

namespace {

using FilePointer = std::shared_ptr<OpenFile>;

/// kvmOpen(path)
Napi::Value Open(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const std::string path = arguments.String(0, "path", PATH_MAX);
  if (!arguments.ok()) return info.Env().Undefined();
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd.valid()) return ThrowSystem(info.Env(), errno, "open", "", path);
  return Descriptor::Make(info.Env(), std::move(fd), FileKind::kKvm);
}

/// What an ioctl returned, as a number, or its errno thrown.
Napi::Value Result(Napi::Env env, int result, const char* request) {
  if (result < 0) return ThrowSystem(env, errno, "ioctl", request);
  return Napi::Number::New(env, result);
}

/// kvmGetApiVersion(kvm)
Napi::Value GetApiVersion(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer kvm = arguments.Kvm(0, "kvm");
  if (!arguments.ok()) return info.Env().Undefined();
  return Result(info.Env(), ::ioctl(kvm->fd.get(), KVM_GET_API_VERSION, 0), "KVM_GET_API_VERSION");
}

/// kvmCheckExtension(kvm, capability)
Napi::Value CheckExtension(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer kvm = arguments.Kvm(0, "kvm");
  const uint32_t capability = arguments.Unsigned(1, "capability");
  if (!arguments.ok()) return info.Env().Undefined();
  return Result(info.Env(), ::ioctl(kvm->fd.get(), KVM_CHECK_EXTENSION, capability),
                "KVM_CHECK_EXTENSION");
}

/// kvmCreateVm(kvm)
Napi::Value CreateVm(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer kvm = arguments.Kvm(0, "kvm");
  if (!arguments.ok()) return info.Env().Undefined();
  int made = -1;
  do made = ::ioctl(kvm->fd.get(), KVM_CREATE_VM, 0);  // a signal meanwhile ends it
  while (made < 0 && errno == EINTR);
  if (made < 0) return ThrowSystem(info.Env(), errno, "ioctl", "KVM_CREATE_VM");
  return Descriptor::Make(info.Env(), UniqueFd(made), FileKind::kVm);
}

/// kvmGetSupportedCpuid(kvm): of each leaf function, index, flags, eax, ebx, ecx, edx.
Napi::Value GetSupportedCpuid(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer kvm = arguments.Kvm(0, "kvm");
  if (!arguments.ok()) return info.Env().Undefined();
  constexpr uint32_t kMost = 256;  // KVM_MAX_CPUID_ENTRIES
  std::vector<uint8_t> space(sizeof(kvm_cpuid2) + kMost * sizeof(kvm_cpuid_entry2));
  auto* cpuid = reinterpret_cast<kvm_cpuid2*>(space.data());
  cpuid->nent = kMost;
  if (::ioctl(kvm->fd.get(), KVM_GET_SUPPORTED_CPUID, cpuid) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl", "KVM_GET_SUPPORTED_CPUID");
  }
  Napi::Uint32Array out = Napi::Uint32Array::New(info.Env(), size_t{7} * cpuid->nent);
  for (uint32_t i = 0; i < cpuid->nent; i++) {
    const kvm_cpuid_entry2& leaf = cpuid->entries[i];
    const uint32_t words[] = {leaf.function, leaf.index, leaf.flags, leaf.eax,
                              leaf.ebx,      leaf.ecx,   leaf.edx};
    for (uint32_t word = 0; word < 7; word++) out[size_t{7} * i + word] = words[word];
  }
  return out;
}

/// kvmSetTssAddr(vm, address)
Napi::Value SetTssAddr(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer vm = arguments.Vm(0, "vm");
  const uint32_t address = arguments.Unsigned(1, "address");
  if (!arguments.ok()) return info.Env().Undefined();
  return Result(info.Env(), ::ioctl(vm->fd.get(), KVM_SET_TSS_ADDR, address), "KVM_SET_TSS_ADDR");
}

/// kvmSetIdentityMapAddr(vm, address)
Napi::Value SetIdentityMapAddr(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer vm = arguments.Vm(0, "vm");
  uint64_t address = arguments.Unsigned(1, "address");
  if (!arguments.ok()) return info.Env().Undefined();
  return Result(info.Env(), ::ioctl(vm->fd.get(), KVM_SET_IDENTITY_MAP_ADDR, &address),
                "KVM_SET_IDENTITY_MAP_ADDR");
}

/// kvmCreateIrqchip(vm)
Napi::Value CreateIrqchip(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer vm = arguments.Vm(0, "vm");
  if (!arguments.ok()) return info.Env().Undefined();
  return Result(info.Env(), ::ioctl(vm->fd.get(), KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
}

/// kvmCreatePit2(vm): with a stand-in for the speaker's port, which belongs to the same clock.
Napi::Value CreatePit2(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer vm = arguments.Vm(0, "vm");
  if (!arguments.ok()) return info.Env().Undefined();
  kvm_pit_config config = {};
  config.flags = KVM_PIT_SPEAKER_DUMMY;
  return Result(info.Env(), ::ioctl(vm->fd.get(), KVM_CREATE_PIT2, &config), "KVM_CREATE_PIT2");
}

/// kvmSetUserMemoryRegion(vm, slot, guestAddress, byteLength, hostAddress). Length 0 takes the slot
/// away. The pages stay mapped for as long as the guest can reach them.
Napi::Value SetUserMemoryRegion(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer vm = arguments.Vm(0, "vm");
  kvm_userspace_memory_region region = {};
  region.slot = arguments.Unsigned(1, "slot", UINT16_MAX);
  region.guest_phys_addr = arguments.Big(2, "guestAddress");
  region.memory_size = arguments.Big(3, "byteLength");
  region.userspace_addr = arguments.Big(4, "hostAddress");
  if (!arguments.ok()) return info.Env().Undefined();
  std::shared_ptr<Mapping> mapping;
  if (region.memory_size > 0) {
    mapping = Mapping::Find(region.userspace_addr, region.memory_size);
    if (!mapping) arguments.FailRange("hostAddress", "inside Pages");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  if (::ioctl(vm->fd.get(), KVM_SET_USER_MEMORY_REGION, &region) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl", "KVM_SET_USER_MEMORY_REGION");
  }
  vm->slots[region.slot] = std::move(mapping);
  return info.Env().Undefined();
}

/// A row of five words: GSI, type, and of a pin the chip and its number; of a message the address,
/// lower half first, and the data.
kvm_irq_routing_entry Route(const uint32_t* row) {
  kvm_irq_routing_entry entry = {};
  entry.gsi = row[0];
  entry.type = row[1];
  if (entry.type == KVM_IRQ_ROUTING_MSI) {
    entry.u.msi.address_lo = row[2];
    entry.u.msi.address_hi = row[3];
    entry.u.msi.data = row[4];
  } else {
    entry.u.irqchip.irqchip = row[2];
    entry.u.irqchip.pin = row[3];
  }
  return entry;
}

/// kvmSetGsiRouting(vm, rows): the whole table.
Napi::Value SetGsiRouting(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer vm = arguments.Vm(0, "vm");
  const std::vector<uint32_t> words = arguments.Words32(1, "rows", 5, 4096);
  if (!arguments.ok()) return info.Env().Undefined();
  const size_t count = words.size() / 5;
  std::vector<uint8_t> space(sizeof(kvm_irq_routing) + count * sizeof(kvm_irq_routing_entry));
  auto* table = reinterpret_cast<kvm_irq_routing*>(space.data());
  table->nr = static_cast<uint32_t>(count);
  for (size_t i = 0; i < count; i++) table->entries[i] = Route(&words[5 * i]);
  return Result(info.Env(), ::ioctl(vm->fd.get(), KVM_SET_GSI_ROUTING, table),
                "KVM_SET_GSI_ROUTING");
}

/// kvmIrqfd(vm, eventfd, gsi, deassign)
Napi::Value Irqfd(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer vm = arguments.Vm(0, "vm");
  const FilePointer eventfd = arguments.EventFd(1, "eventfd");
  kvm_irqfd irqfd = {};
  irqfd.gsi = arguments.Unsigned(2, "gsi");
  irqfd.flags = arguments.Boolean(3, "deassign") ? KVM_IRQFD_FLAG_DEASSIGN : 0;
  if (!arguments.ok()) return info.Env().Undefined();
  irqfd.fd = static_cast<uint32_t>(eventfd->fd.get());
  return Result(info.Env(), ::ioctl(vm->fd.get(), KVM_IRQFD, &irqfd), "KVM_IRQFD");
}

/// kvmIoeventfd(vm, eventfd, address, deassign). Length 0: a write of any width, which KVM also
/// finds without decoding the instruction.
Napi::Value Ioeventfd(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer vm = arguments.Vm(0, "vm");
  const FilePointer eventfd = arguments.EventFd(1, "eventfd");
  kvm_ioeventfd ioeventfd = {};
  ioeventfd.addr = arguments.Big(2, "address");
  ioeventfd.flags = arguments.Boolean(3, "deassign") ? KVM_IOEVENTFD_FLAG_DEASSIGN : 0;
  if (!arguments.ok()) return info.Env().Undefined();
  ioeventfd.fd = eventfd->fd.get();
  return Result(info.Env(), ::ioctl(vm->fd.get(), KVM_IOEVENTFD, &ioeventfd), "KVM_IOEVENTFD");
}

/// kvmIrqLine(vm, gsi, level)
Napi::Value IrqLine(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer vm = arguments.Vm(0, "vm");
  kvm_irq_level line = {};
  line.irq = arguments.Unsigned(1, "gsi");
  line.level = arguments.Boolean(2, "level") ? 1 : 0;
  if (!arguments.ok()) return info.Env().Undefined();
  return Result(info.Env(), ::ioctl(vm->fd.get(), KVM_IRQ_LINE, &line), "KVM_IRQ_LINE");
}

/// kvmGetStatsFd(vm): a descriptor to read the machine's binary statistics from.
Napi::Value GetStatsFd(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer vm = arguments.Vm(0, "vm");
  if (!arguments.ok()) return info.Env().Undefined();
  UniqueFd fd(::ioctl(vm->fd.get(), KVM_GET_STATS_FD, 0));
  if (!fd.valid()) return ThrowSystem(info.Env(), errno, "ioctl", "KVM_GET_STATS_FD");
  return Descriptor::Make(info.Env(), std::move(fd));
}

}  // namespace

void ExportKvm(Napi::Env env, Napi::Object exports) {
  Export<Open>(env, exports, "kvmOpen");
  Export<GetApiVersion>(env, exports, "kvmGetApiVersion");
  Export<CheckExtension>(env, exports, "kvmCheckExtension");
  Export<CreateVm>(env, exports, "kvmCreateVm");
  Export<GetSupportedCpuid>(env, exports, "kvmGetSupportedCpuid");
  Export<SetTssAddr>(env, exports, "kvmSetTssAddr");
  Export<SetIdentityMapAddr>(env, exports, "kvmSetIdentityMapAddr");
  Export<CreateIrqchip>(env, exports, "kvmCreateIrqchip");
  Export<CreatePit2>(env, exports, "kvmCreatePit2");
  Export<SetUserMemoryRegion>(env, exports, "kvmSetUserMemoryRegion");
  Export<SetGsiRouting>(env, exports, "kvmSetGsiRouting");
  Export<Irqfd>(env, exports, "kvmIrqfd");
  Export<Ioeventfd>(env, exports, "kvmIoeventfd");
  Export<IrqLine>(env, exports, "kvmIrqLine");
  Export<GetStatsFd>(env, exports, "kvmGetStatsFd");
}

#else

void ExportKvm(Napi::Env, Napi::Object) {}

#endif

}  // namespace vhost_net
