import type { GuestRam } from './guest-ram.js';
import { cpuidOf } from './guest-cpuid.js';
import { guestCpuid } from './kvm-support.js';
import { loadLinux } from './linux-boot.js';
import type { LinuxBoot } from './linux-boot.js';
import type { PciBus } from './pci-bus.js';
import type { BusDevice } from './platform.js';
import { startVcpus } from './start-vcpus.js';
import { setUpAnyCpu, setUpBootCpu, writeCpuTables } from './x86-cpu.js';
import type { Kvm, KvmVm } from '../sys/kvm.js';
import { KvmStatistics } from '../sys/kvm-statistics.js';
import type { LoopBudget } from '../sys/loop-budget.js';
import { Vcpu } from '../sys/vcpu.js';
import type { VcpuBus, VcpuEnd, VcpuStatistics } from '../sys/vcpu.js';
import { KVM_CAP_BINARY_STATS_FD } from '../uapi/kvm.js';
import { allOrNothing } from '../undo.js';
import type { UndoList } from '../undo.js';

/** Guest addresses that KVM needs for itself on Intel's processors: a page, and three behind it. */
const IDENTITY_MAP = 0xfffbc000;
const TSS = IDENTITY_MAP + 0x1000;

/** What a machine is, whether it is on or off. */
export interface MachineParts {
  readonly kvm: Kvm;
  readonly ram: GuestRam;
  readonly ports: BusDevice;
  readonly memory: BusDevice;
  readonly boot: LinuxBoot;
  readonly cpus: number;
  /** What all of its vCPUs may take of the event loop. */
  readonly budget: LoopBudget;
  readonly pci: PciBus;
  /** A device threw: what the guest did there nobody knows how to answer. */
  readonly onError: (error: Error) => void;
}

/**
 * One life of a machine from power-on to power-off: a virtual machine of KVM, new each time, so that
 * nothing of interrupt controllers, clocks or registers is left from the one before.
 *
 * Down: the vCPUs are stopped first. Then whatever was attached to the virtual machine is detached, by
 * its owner; then it closes, and last the pin on its memory goes.
 */
export class PowerCycle {
  readonly vm: KvmVm;
  readonly #vcpus: readonly Vcpu[];
  readonly #parts: MachineParts;
  readonly #down: UndoList;
  #ended: Promise<VcpuEnd> | undefined;
  #refused: Error | undefined;
  readonly #counters: KvmStatistics[] = [];
  #statistics: readonly VcpuStatistics[] | undefined;

  /**
   * Makes the virtual machine and its vCPUs, and loads the kernel.
   *
   * @throws {VhostSystemError} What KVM refuses.
   */
  static prepare(parts: MachineParts): PowerCycle {
    return allOrNothing((undo) => new PowerCycle(undo, parts));
  }

  private constructor(undo: UndoList, parts: MachineParts) {
    this.#down = undo;
    this.#parts = parts;
    const pin = parts.ram.memory.pin('a virtual machine');
    undo.push(() => {
      pin.release();
    });
    this.vm = parts.kvm.createVm();
    undo.push(() => {
      this.vm.close();
    });
    setUpVm(this.vm, parts.ram);
    const { memory } = parts.ram;
    const isZero = parts.ram.takeZero();
    const entry = loadLinux(memory, parts.boot, { cpus: parts.cpus, isZero });
    writeCpuTables(memory);
    this.#vcpus = this.#makeVcpus(undo);
    const [first] = this.#vcpus;
    if (!first) return;
    undo.push(() => {
      parts.pci.mirrorTo(undefined);
    });
    parts.pci.mirrorTo((slot, bytes, asked) => {
      first.setPciConfig(slot, bytes, asked);
    });
    setUpBootCpu(first, entry);
  }

  /** What kept a vCPU from running while others ran already; {@link start} settles then. */
  get refused(): Error | undefined {
    return this.#refused;
  }

  /**
   * Lets the vCPUs run: {@link startVcpus}. Settles when one of them has ended, and all others as well.
   *
   * @throws {VhostSystemError} `EAGAIN`: there is no thread for any of them; nothing runs.
   */
  start(): Promise<VcpuEnd> {
    const { ended, refused } = startVcpus(this.#vcpus, busOf(this.#parts));
    this.#refused = refused;
    this.#ended = ended;
    return ended;
  }

  /** Ends the vCPUs, wherever they are. Settles when their threads are gone. */
  async stop(): Promise<void> {
    for (const vcpu of this.#vcpus) void vcpu.stop();
    await this.#ended;
  }

  /** Of each vCPU. */
  statistics(): readonly VcpuStatistics[] {
    return this.#statistics ?? this.#vcpus.map((vcpu) => vcpu.statistics());
  }

  /** The kernel's own counters of each vCPU; none where it has no such counters. */
  kernelStatistics(): readonly Record<string, number>[] {
    return this.#counters.map((counters) => counters.read());
  }

  /** Closes the virtual machine. Only after {@link stop}, and when nothing is attached to it. */
  close(): void {
    this.#statistics = this.statistics();
    this.#down.unwind();
  }

  #makeVcpus(undo: UndoList): Vcpu[] {
    const { kvm, cpus, budget } = this.#parts;
    const leaves = guestCpuid(kvm);
    return Array.from({ length: cpus }, (_, id) => {
      const vcpu = new Vcpu(kvm, this.vm, id, budget);
      undo.push(() => {
        vcpu.close();
      });
      setUpAnyCpu(vcpu, cpuidOf(leaves, { id, cpus }));
      this.#count(vcpu, undo);
      return vcpu;
    });
  }

  #count(vcpu: Vcpu, undo: UndoList): void {
    if (this.#parts.kvm.checkExtension(KVM_CAP_BINARY_STATS_FD) === 0) return;
    const counters = new KvmStatistics(vcpu.statisticsDescriptor());
    undo.push(() => {
      counters.close();
    });
    this.#counters.push(counters);
  }
}

function setUpVm(vm: KvmVm, ram: GuestRam): void {
  vm.setIdentityMapAddress(IDENTITY_MAP);
  vm.setTssAddress(TSS);
  vm.createIrqchip();
  vm.createPit();
  ram.memory.regions.forEach(({ guestAddress, byteLength, hostAddress }, slot) => {
    const place = { guestAddress: BigInt(guestAddress), byteLength: BigInt(byteLength) };
    vm.setMemory({ slot, ...place, hostAddress });
  });
}

/** What a device throws ends the machine, and not the process. */
function busOf({ ports, memory, onError }: MachineParts): VcpuBus {
  const guard = <T>(access: () => T): T | number => {
    try {
      return access();
    } catch (error) {
      onError(error as Error);
      return 0xffffffff;
    }
  };
  return {
    readPort: (port, size) => guard(() => ports.read(port, size)),
    writePort: (port, size, value) => {
      guard(() => {
        ports.write(port, size, value);
      });
    },
    readMemory: (address, size) => guard(() => memory.read(address, size)),
    writeMemory: (address, size, value) => {
      guard(() => {
        memory.write(address, size, value);
      });
    },
  };
}
