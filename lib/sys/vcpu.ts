import type { CpuidLeaf, Kvm, KvmVm } from './kvm.js';
import type { LoopBudget } from './loop-budget.js';
import { VhostError } from '../errors.js';
import { native } from '../native.js';
import type { NativeDescriptor, NativeVcpu, NativeVcpuState } from '../native.js';
import { ioctl } from '../observe.js';
import {
  KVM_EXIT_FAIL_ENTRY,
  KVM_EXIT_HLT,
  KVM_EXIT_HYPERCALL,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_INTR,
  KVM_EXIT_IO,
  KVM_EXIT_IRQ_WINDOW_OPEN,
  KVM_EXIT_MMIO,
  KVM_EXIT_SHUTDOWN,
  KVM_EXIT_SYSTEM_EVENT,
} from '../uapi/kvm.js';

/** What leaves the kernel while a vCPU runs, and waits for an answer. Sizes are 1, 2 or 4 bytes. */
export interface VcpuBus {
  readPort(port: number, size: number): number;
  writePort(port: number, size: number, value: number): void;
  /** Memory that no slot has. */
  readMemory(address: number, size: number): number;
  writeMemory(address: number, size: number, value: number): void;
}

/** Why a vCPU runs no more. */
export interface VcpuEnd {
  /** `stopped`: {@link Vcpu.stop} was called. `shutdown`: a triple fault. `failed`: KVM gave up. */
  readonly reason: 'stopped' | 'shutdown' | 'failed';
  /** What KVM said, for people. */
  readonly detail: string;
}

/** What was counted while it ran. */
export interface VcpuStatistics {
  /** How often the vCPU left the kernel, by the name of the reason; those that never were are left out. */
  readonly exits: Readonly<Record<string, number>>;
  /** How often JavaScript was asked. */
  readonly calls: number;
}

const REASONS: Readonly<Record<number, string>> = {
  [KVM_EXIT_IO]: 'io',
  [KVM_EXIT_HYPERCALL]: 'hypercall',
  [KVM_EXIT_HLT]: 'hlt',
  [KVM_EXIT_MMIO]: 'mmio',
  [KVM_EXIT_IRQ_WINDOW_OPEN]: 'irq-window',
  [KVM_EXIT_SHUTDOWN]: 'shutdown',
  [KVM_EXIT_FAIL_ENTRY]: 'fail-entry',
  [KVM_EXIT_INTR]: 'intr',
  [KVM_EXIT_INTERNAL_ERROR]: 'internal-error',
  [KVM_EXIT_SYSTEM_EVENT]: 'system-event',
};

/** The name of a `KVM_EXIT_*`. */
export function exitReason(reason: number): string {
  return REASONS[reason] ?? `reason-${String(reason)}`;
}

const STATES: Readonly<Record<NativeVcpuState, string>> = {
  regs: 'REGS',
  sregs: 'SREGS',
  fpu: 'FPU',
  lapic: 'LAPIC',
  mpState: 'MP_STATE',
};

const READ_PORT = 0;
const WRITE_PORT = 1;
const READ_MEMORY = 2;
const WRITE_MEMORY = 3;

/** One virtual CPU. Its thread runs from {@link start} on, once; before, its registers can be set. */
export class Vcpu {
  readonly #native: NativeVcpu;
  readonly #vm: KvmVm;
  #ended: Promise<VcpuEnd> | undefined;
  #running = false;

  /**
   * `KVM_CREATE_VCPU`.
   *
   * @param id  Also the number of its local APIC.
   * @param budget  Of the event loop that {@link start} is called on. Default: as much as it likes.
   * @throws {VhostSystemError} `EEXIST`: there is one of that id; `EINVAL`: more than KVM can.
   */
  constructor(kvm: Kvm, vm: KvmVm, id: number, budget?: LoopBudget) {
    this.#vm = vm;
    this.#native = ioctl(
      vm.fd,
      'KVM_CREATE_VCPU',
      { id },
      () => new native.Vcpu(kvm.descriptor, vm.descriptor, id, budget?.native),
    );
  }

  /** Whether its thread is there. */
  get running(): boolean {
    return this.#running;
  }

  /** `KVM_GET_REGS` and the like: the structure's bytes. */
  get(state: NativeVcpuState): Uint8Array {
    return ioctl(this.#vm.fd, `KVM_GET_${STATES[state]}`, {}, () => this.#native.get(state));
  }

  /** `KVM_SET_REGS` and the like. */
  set(state: NativeVcpuState, bytes: Uint8Array): void {
    ioctl(this.#vm.fd, `KVM_SET_${STATES[state]}`, {}, () => {
      this.#native.set(state, bytes);
    });
  }

  /** `KVM_SET_CPUID2`. */
  setCpuid(leaves: readonly CpuidLeaf[]): void {
    const rows = Uint32Array.from(
      leaves.flatMap(({ leaf, subleaf, flags, eax, ebx, ecx, edx }) => [
        ...[leaf, subleaf, flags],
        ...[eax, ebx, ecx, edx],
      ]),
    );
    ioctl(this.#vm.fd, 'KVM_SET_CPUID2', { leaves: leaves.length }, () => {
      this.#native.setCpuid(rows);
    });
  }

  /**
   * `KVM_SET_MSRS`.
   *
   * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`: KVM does not take one of them.
   */
  setMsrs(values: readonly (readonly [index: number, value: bigint])[]): void {
    const rows = Uint32Array.from(
      values.flatMap(([index, value]) => [
        index,
        Number(BigInt.asUintN(32, value)),
        Number(value >> 32n),
      ]),
    );
    const taken = ioctl(this.#vm.fd, 'KVM_SET_MSRS', { values }, () => this.#native.setMsrs(rows));
    const refused = values[taken];
    if (refused === undefined) return;
    const name = `MSR 0x${refused[0].toString(16)}`;
    throw new VhostError('ERR_VHOST_UNSUPPORTED', `KVM does not take ${name}`);
  }

  /**
   * What a slot of PCI's bus 0 has in its configuration space from now on, for all vCPUs of its virtual
   * machine: reads are answered with that, and the bus is not asked. Once one was told, slots that were not
   * have nothing: a kernel that starts looks at thousands of those, with two accesses of ports each. Of a
   * vCPU that is closed nothing is told.
   *
   * @param bytes  All 256.
   * @param asked  Reads that touch these are asked all the same: {@link VcpuBus.readPort}.
   * @throws {RangeError} `bytes` is not 256 long, or there is no such slot.
   */
  setPciConfig(slot: number, bytes: Uint8Array, asked: { start: number; end: number }): void {
    this.#native.setPciConfig(slot, bytes, asked.start, asked.end);
  }

  /**
   * Lets it run on a thread of its own, `vcpu-ID`.
   *
   * @param bus  Called on this environment's event loop; the vCPU waits meanwhile. What it throws
   * becomes an uncaught exception, and the guest reads all ones.
   * @returns Settles when the thread is gone; never rejects.
   * @throws {VhostSystemError} `EAGAIN`: no further thread, or no real-time signal is free; it runs not.
   */
  start(bus: VcpuBus): Promise<VcpuEnd> {
    let settle: (end: VcpuEnd) => void = () => undefined;
    const ended = new Promise<VcpuEnd>((resolve) => (settle = resolve));
    this.#native.start((question, address, size, value) => {
      switch (question) {
        case READ_PORT:
          return bus.readPort(address, size);
        case WRITE_PORT:
          bus.writePort(address, size, value);
          return 0;
        case READ_MEMORY:
          return bus.readMemory(address, size);
        case WRITE_MEMORY:
          bus.writeMemory(address, size, value);
          return 0;
        default:
          this.#running = false;
          settle(describeEnd(address, size, value));
          return 0;
      }
    });
    this.#running = true;
    this.#ended = ended;
    return ended;
  }

  /**
   * Ends the thread wherever it is: in the guest, halted, or waiting for an answer, which then never
   * comes.
   *
   * @returns What {@link start} returned; undefined when it was not started.
   */
  stop(): Promise<VcpuEnd> | undefined {
    this.#native.stop();
    return this.#ended;
  }

  /** Counted since it was started; still there after it has ended. */
  statistics(): VcpuStatistics {
    const [calls = 0, ...counts] = this.#native.statistics();
    const exits = counts.flatMap((count, reason) =>
      count === 0 ? [] : [[exitReason(reason), count]],
    );
    return { calls, exits: Object.fromEntries(exits) as Record<string, number> };
  }

  /**
   * `KVM_GET_STATS_FD`: a descriptor to read the kernel's own counters from, also while it runs; the
   * caller closes it. To be asked for before {@link start}.
   */
  statisticsDescriptor(): NativeDescriptor {
    return ioctl(this.#vm.fd, 'KVM_GET_STATS_FD', {}, () => this.#native.getStatsFd());
  }

  /**
   * Closes the descriptor; not while it runs.
   *
   * @throws {TypeError} It runs.
   */
  close(): void {
    this.#native.close();
  }
}

function describeEnd(reason: number, errno: number, detail: number): VcpuEnd {
  if (reason === -1) return { reason: 'stopped', detail: 'stopped' };
  if (errno !== 0) return { reason: 'failed', detail: `KVM_RUN: errno ${String(errno)}` };
  if (reason === KVM_EXIT_SHUTDOWN) return { reason: 'shutdown', detail: 'triple fault' };
  return { reason: 'failed', detail: `${exitReason(reason)}, detail 0x${detail.toString(16)}` };
}
