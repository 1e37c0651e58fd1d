import { execFileSync } from 'node:child_process';
import path from 'node:path';

import { root, temporaryFolder } from './packed.js';
import { Machine } from '#lib/vmm/machine';
import type { MachineEnd } from '#lib/vmm/machine-end';
import type { MachineOptions } from '#lib/vmm/options';

/** No operating system, no library, and nothing that needs more than the general registers. */
const FLAGS = [
  ...['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-ffreestanding', '-fno-pic'],
  ...['-mno-red-zone', '-mgeneral-regs-only', '-ffixed-r15', '-fno-stack-protector'],
  ...['-fno-asynchronous-unwind-tables', '-nostdlib', '-static', '-no-pie'],
  ...['-Wl,-Ttext-segment=0x200000', '-Wl,--build-id=none', '-Wl,-z,noseparate-code'],
];

/** Compiles the guest of `test/vm/hostile.c`, for `kernel` of a machine. */
export function compileHostileGuest(): string {
  const program = path.join(temporaryFolder(), 'hostile');
  execFileSync('cc', [...FLAGS, '-o', program, path.join(root, 'test/vm/hostile.c')]);
  return program;
}

/** What the guest is to do. */
export interface HostileOrders {
  readonly seed: number;
  /** Accesses of ports and memory; default: more than it comes to. */
  readonly count?: number;
  /** Instead of leaving 42: 1 a reset, 2 a triple fault. */
  readonly end?: 1 | 2;
}

/** What the guest says that it has done. */
export interface HostileReport {
  readonly accesses: number;
  /** Times that a device took its rings. */
  readonly starts: number;
  /** Times that a device did not. */
  readonly refused: number;
  /** Processors that took part. */
  readonly cpus: number;
  readonly seed: number;
}

const REPORT = /@accesses (\d+) starts (\d+) refused (\d+) given-up \d+ cpus (\d+) seed (\d+)@/;

/** A machine with a guest in it that means it no good. */
export class HostileGuest {
  readonly machine: Machine;
  #text = '';

  private constructor(machine: Machine) {
    this.machine = machine;
    machine.on('output', (bytes) => {
      // It writes anything: what it says of itself is the last.
      this.#text = (this.#text + bytes.toString('latin1')).slice(-400);
    });
  }

  static async boot(
    kernel: string,
    { seed, count = 1e12, end }: HostileOrders,
    options: Partial<MachineOptions> = {},
  ): Promise<HostileGuest> {
    const cards = options.net?.length ?? 0;
    const words = {
      seed,
      count,
      cards,
      cpus: options.cpus ?? 1,
      ...(end !== undefined && { end }),
    };
    const commandLine = Object.entries(words)
      .map(([name, value]) => `${name}=${String(value)}`)
      .join(' ');
    const machine = await Machine.boot({ kernel, commandLine, memoryMiB: 32, ...options });
    return new HostileGuest(machine);
  }

  /** How it has ended, and what it said then. */
  async report(): Promise<{ end: MachineEnd; report: HostileReport | undefined }> {
    const end = await this.machine.wait();
    const found = REPORT.exec(this.#text);
    if (!found) return { end, report: undefined };
    const [, accesses, starts, refused, cpus, seed] = found.map(Number);
    return { end, report: { accesses, starts, refused, cpus, seed } as HostileReport };
  }
}
