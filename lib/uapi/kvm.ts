/**
 * `<linux/kvm.h>`: names untouched, so that they can be searched for in the kernel's tree. Held against
 * the header by a test.
 */

/** The only one that there has been since Linux 2.6.22. */
export const KVM_API_VERSION = 12;

export const KVM_CAP_IRQCHIP = 0;
export const KVM_CAP_USER_MEMORY = 3;
export const KVM_CAP_SET_TSS_ADDR = 4;
export const KVM_CAP_EXT_CPUID = 7;
export const KVM_CAP_NR_VCPUS = 9;
export const KVM_CAP_NR_MEMSLOTS = 10;
export const KVM_CAP_IRQ_ROUTING = 25;
export const KVM_CAP_IRQFD = 32;
export const KVM_CAP_PIT2 = 33;
export const KVM_CAP_IOEVENTFD = 36;
export const KVM_CAP_SET_IDENTITY_MAP_ADDR = 37;
export const KVM_CAP_MAX_VCPUS = 66;
/** The local APIC's timer takes a time of the time-stamp counter. */
export const KVM_CAP_TSC_DEADLINE_TIMER = 72;
/** An ioeventfd of length 0: a write of any width. */
export const KVM_CAP_IOEVENTFD_ANY_LENGTH = 122;
/** `kvm_run.immediate_exit`, without which a vCPU can not be stopped for certain. */
export const KVM_CAP_IMMEDIATE_EXIT = 136;
/** Linux 5.14: `KVM_GET_STATS_FD`. */
export const KVM_CAP_BINARY_STATS_FD = 203;

export const KVM_IRQ_ROUTING_IRQCHIP = 1;
export const KVM_IRQ_ROUTING_MSI = 2;
export const KVM_IRQCHIP_PIC_MASTER = 0;
export const KVM_IRQCHIP_PIC_SLAVE = 1;
export const KVM_IRQCHIP_IOAPIC = 2;

export const KVM_EXIT_UNKNOWN = 0;
export const KVM_EXIT_EXCEPTION = 1;
/** Access to a port. */
export const KVM_EXIT_IO = 2;
export const KVM_EXIT_HYPERCALL = 3;
export const KVM_EXIT_DEBUG = 4;
export const KVM_EXIT_HLT = 5;
/** Access to memory that no slot has. */
export const KVM_EXIT_MMIO = 6;
export const KVM_EXIT_IRQ_WINDOW_OPEN = 7;
/** A triple fault, on x86. */
export const KVM_EXIT_SHUTDOWN = 8;
export const KVM_EXIT_FAIL_ENTRY = 9;
/** A signal came. */
export const KVM_EXIT_INTR = 10;
export const KVM_EXIT_INTERNAL_ERROR = 17;
export const KVM_EXIT_SYSTEM_EVENT = 24;
