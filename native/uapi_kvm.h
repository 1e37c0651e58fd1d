#ifndef VHOST_NET_UAPI_KVM_H_
#define VHOST_NET_UAPI_KVM_H_

// What of <linux/kvm.h> is used here. Of what a virtual CPU is made differs from one architecture
// to the next: there is only x86-64 yet.

#ifdef __x86_64__

// What Linux 6.1 to 6.4 have for an array at the end of a structure takes room in C++, and so
// changes the numbers of the ioctls that take such a structure.
#include <linux/stddef.h>
#undef __DECLARE_FLEX_ARRAY
// NOLINTNEXTLINE(bugprone-reserved-identifier): it is the kernel's name
#define __DECLARE_FLEX_ARRAY(type, name) type name[0]
#include <linux/kvm.h>

#include <cstddef>

static_assert(sizeof(kvm_regs) == 144);
static_assert(offsetof(kvm_regs, rsi) == 32);
static_assert(offsetof(kvm_regs, rip) == 128);
static_assert(sizeof(kvm_segment) == 24);
static_assert(sizeof(kvm_sregs) == 312);
static_assert(offsetof(kvm_sregs, gdt) == 192);
static_assert(offsetof(kvm_sregs, cr0) == 224);
static_assert(offsetof(kvm_sregs, efer) == 264);
static_assert(sizeof(kvm_fpu) == 416);
static_assert(offsetof(kvm_fpu, fcw) == 128);
static_assert(offsetof(kvm_fpu, mxcsr) == 408);
static_assert(sizeof(kvm_lapic_state) == 1024);
static_assert(sizeof(kvm_cpuid2) == 8);
static_assert(sizeof(kvm_cpuid_entry2) == 40);
static_assert(sizeof(kvm_msrs) == 8);
static_assert(sizeof(kvm_irq_routing) == 8);
static_assert(sizeof(kvm_irq_routing_entry) == 48);
static_assert(sizeof(kvm_userspace_memory_region) == 32);

#endif  // __x86_64__

#endif  // VHOST_NET_UAPI_KVM_H_
