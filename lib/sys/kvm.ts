import type { EventFd } from './eventfd.js';
import { VhostError } from '../errors.js';
import { native } from '../native.js';
import type { NativeDescriptor } from '../native.js';
import { ioctl } from '../observe.js';
import type { IoctlArguments } from '../observe.js';
import { KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI } from '../uapi/kvm.js';

/** One leaf of what `cpuid` answers. */
export interface CpuidLeaf {
  readonly leaf: number;
  readonly subleaf: number;
  /** `KVM_CPUID_FLAG_*`: such as that the sub-leaf counts. */
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** What a GSI delivers: a pin of an interrupt controller, or a message. */
export type GsiRoute =
  | { readonly gsi: number; readonly chip: number; readonly pin: number }
  | { readonly gsi: number; readonly address: bigint; readonly data: number };

/** Memory that the guest sees. */
export interface MemorySlot {
  readonly slot: number;
  readonly guestAddress: bigint;
  /** Bytes; 0 takes the slot away. */
  readonly byteLength: bigint;
  /** Inside pages of this process, which stay mapped until the slot is taken away. */
  readonly hostAddress: bigint;
}

/** A descriptor and its ioctls, observed. */
class KvmDescriptor {
  /** @internal For vCPUs. */
  readonly descriptor: NativeDescriptor;

  constructor(descriptor: NativeDescriptor) {
    this.descriptor = descriptor;
  }

  /** The descriptor's number, -1 once closed. */
  get fd(): number {
    return this.descriptor.fd;
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.fd === -1;
  }

  /** Closes the descriptor. */
  close(): void {
    this.descriptor.close();
  }

  /** The same as {@link close}: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  protected ioctl<T>(request: string, args: IoctlArguments, call: () => T): T {
    return ioctl(this.fd, request, args, call);
  }
}

/** `/dev/kvm`. */
export class Kvm extends KvmDescriptor {
  /** Where the device node is. */
  static readonly PATH = '/dev/kvm';

  /**
   * Opens the device.
   *
   * @throws {VhostSystemError} `ENOENT`: no such node; `EACCES`: no right to it; `ENODEV`: the node is
   * there but the module is not.
   * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`: another processor than x86-64.
   */
  constructor(path: string = Kvm.PATH) {
    if (process.arch !== 'x64') {
      throw new VhostError('ERR_VHOST_UNSUPPORTED', `KVM is not driven on ${process.arch} yet`);
    }
    super(native.kvmOpen(path));
  }

  /** `KVM_GET_API_VERSION`: 12 on every kernel since 2.6.22. */
  apiVersion(): number {
    return this.ioctl('KVM_GET_API_VERSION', {}, () => native.kvmGetApiVersion(this.descriptor));
  }

  /** `KVM_CHECK_EXTENSION`: 0 when there is none, else 1 or a number that belongs to it. */
  checkExtension(capability: number): number {
    return this.ioctl('KVM_CHECK_EXTENSION', { capability }, () =>
      native.kvmCheckExtension(this.descriptor, capability),
    );
  }

  /** `KVM_GET_SUPPORTED_CPUID`: what this processor and KVM can do for a guest. */
  supportedCpuid(): CpuidLeaf[] {
    const rows = this.ioctl('KVM_GET_SUPPORTED_CPUID', {}, () =>
      native.kvmGetSupportedCpuid(this.descriptor),
    );
    return Array.from({ length: rows.length / 7 }, (_, row) => readLeaf(rows, 7 * row));
  }

  /**
   * `KVM_CREATE_VM`.
   *
   * @throws {VhostSystemError} `ENOMEM`; `EMFILE`; `EBUSY`: another hypervisor has the processor.
   */
  createVm(): KvmVm {
    return this.ioctl('KVM_CREATE_VM', {}, () => new KvmVm(native.kvmCreateVm(this.descriptor)));
  }
}

function readLeaf(rows: Uint32Array, at: number): CpuidLeaf {
  const [leaf = 0, subleaf = 0, flags = 0, eax = 0, ebx = 0, ecx = 0, edx = 0] = rows.subarray(
    at,
    at + 7,
  );
  return { leaf, subleaf, flags, eax, ebx, ecx, edx };
}

/** One virtual machine: memory slots, interrupt controllers, what wakes whom. */
export class KvmVm extends KvmDescriptor {
  /** `KVM_SET_TSS_ADDR`: three pages of guest addresses that nobody else uses. Intel's needs them. */
  setTssAddress(address: number): void {
    this.ioctl('KVM_SET_TSS_ADDR', { address }, () => {
      native.kvmSetTssAddr(this.descriptor, address);
    });
  }

  /** `KVM_SET_IDENTITY_MAP_ADDR`: one page more. Before the first vCPU. */
  setIdentityMapAddress(address: number): void {
    this.ioctl('KVM_SET_IDENTITY_MAP_ADDR', { address }, () => {
      native.kvmSetIdentityMapAddr(this.descriptor, address);
    });
  }

  /** `KVM_CREATE_IRQCHIP`: two PICs, an IOAPIC, and a local APIC for each vCPU to come. */
  createIrqchip(): void {
    this.ioctl('KVM_CREATE_IRQCHIP', {}, () => {
      native.kvmCreateIrqchip(this.descriptor);
    });
  }

  /** `KVM_CREATE_PIT2`: the clock at IRQ 0; after {@link createIrqchip}. */
  createPit(): void {
    this.ioctl('KVM_CREATE_PIT2', {}, () => {
      native.kvmCreatePit2(this.descriptor);
    });
  }

  /**
   * `KVM_SET_USER_MEMORY_REGION`.
   *
   * @throws {VhostSystemError} `EEXIST`: overlaps another slot; `EINVAL`: not of whole pages.
   * @throws {RangeError} The host addresses are in no pages of this package.
   */
  setMemory(slot: MemorySlot): void {
    this.ioctl('KVM_SET_USER_MEMORY_REGION', { ...slot }, () => {
      native.kvmSetUserMemoryRegion(
        this.descriptor,
        slot.slot,
        slot.guestAddress,
        slot.byteLength,
        slot.hostAddress,
      );
    });
  }

  /** `KVM_SET_GSI_ROUTING`: the whole table; what it does not name is not delivered any more. */
  setRouting(routes: readonly GsiRoute[]): void {
    const rows = Uint32Array.from(routes.flatMap(routeRow));
    this.ioctl('KVM_SET_GSI_ROUTING', { routes }, () => {
      native.kvmSetGsiRouting(this.descriptor, rows);
    });
  }

  /**
   * `KVM_IRQFD`: from now on the kernel takes what is signalled there, and interrupts; at once if the
   * counter is not 0.
   *
   * @throws {VhostSystemError} `EBUSY`: that eventfd is another GSI's already.
   */
  attachInterrupt(eventfd: EventFd, gsi: number): void {
    this.#irqfd(eventfd, gsi, false);
  }

  /** Takes it back. What is signalled from now on stays in the counter. */
  detachInterrupt(eventfd: EventFd, gsi: number): void {
    this.#irqfd(eventfd, gsi, true);
  }

  #irqfd(eventfd: EventFd, gsi: number, deassign: boolean): void {
    this.ioctl('KVM_IRQFD', { eventfd: eventfd.fd, gsi, deassign }, () => {
      native.kvmIrqfd(this.descriptor, eventfd.descriptor, gsi, deassign);
    });
  }

  /**
   * `KVM_IOEVENTFD` of length 0: a write of any width to that very address signals, and the vCPU goes
   * on.
   *
   * @throws {VhostSystemError} `EEXIST`: the address is taken.
   */
  attachDoorbell(eventfd: EventFd, address: number): void {
    this.#ioeventfd(eventfd, address, false);
  }

  /** Takes it back: from now on such a write leaves the kernel. */
  detachDoorbell(eventfd: EventFd, address: number): void {
    this.#ioeventfd(eventfd, address, true);
  }

  #ioeventfd(eventfd: EventFd, address: number, deassign: boolean): void {
    this.ioctl('KVM_IOEVENTFD', { eventfd: eventfd.fd, address, deassign }, () => {
      native.kvmIoeventfd(this.descriptor, eventfd.descriptor, BigInt(address), deassign);
    });
  }

  /** `KVM_IRQ_LINE`: puts a pin of the interrupt controllers high or low. */
  setLine(gsi: number, level: boolean): void {
    this.ioctl('KVM_IRQ_LINE', { gsi, level }, () => {
      native.kvmIrqLine(this.descriptor, gsi, level);
    });
  }

  /** `KVM_GET_STATS_FD`: a descriptor to read binary statistics from; the caller closes it. */
  statisticsDescriptor(): NativeDescriptor {
    return this.ioctl('KVM_GET_STATS_FD', {}, () => native.kvmGetStatsFd(this.descriptor));
  }
}

/** Five words for the addon. */
function routeRow(route: GsiRoute): number[] {
  if ('pin' in route) return [route.gsi, KVM_IRQ_ROUTING_IRQCHIP, route.chip, route.pin, 0];
  const low = Number(BigInt.asUintN(32, route.address));
  return [route.gsi, KVM_IRQ_ROUTING_MSI, low, Number(route.address >> 32n), route.data];
}
