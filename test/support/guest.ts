import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';

import { Machine } from '#lib/vmm/machine';
import type { MachineOptions } from '#lib/vmm/options';
import { cacheFolder } from '#lib/cache-folder';

/** Kernels that guests of tests run. */
export type GuestKernel = '6.1-cloud' | '6.1' | '6.12' | '7';

/** Milliseconds for a boot and what comes after it, with a hypervisor below that is emulated. */
export const BOOT = 100_000;

const HELD = 8;

/** What `scripts/guests` made of a kernel. */
export function guestFiles(kernel: GuestKernel): { kernel: string; initrd: string } {
  const folder = cacheFolder();
  const files = {
    kernel: path.join(folder, `kernel-${kernel}`, 'vmlinuz'),
    initrd: path.join(folder, `guest-${kernel}`),
  };
  for (const file of Object.values(files)) {
    if (!fs.existsSync(file)) throw new Error(`no ${file}: scripts/guests makes it`);
  }
  return files;
}

/** A command of a guest: off and on again, what is in a folder of drivers, by the name of a device. */
export function rebind(driver: string, device: string): string {
  return `cd /sys/bus/${driver}; echo ${device} > unbind; echo ${device} > bind; cd /`;
}

/** A machine whose guest does what it is told at its console. */
export class Guest {
  readonly machine: Machine;
  #text = '';
  #serial = 0;

  private constructor(machine: Machine) {
    this.machine = machine;
    machine.on('output', (bytes) => {
      this.#text += bytes.toString('latin1');
    });
  }

  /** Boots one, and waits until it listens. */
  static async boot(
    kernel: GuestKernel,
    options: Partial<MachineOptions> = {},
    seconds = 90,
  ): Promise<Guest> {
    const machine = await Machine.boot({ ...guestFiles(kernel), memoryMiB: 128, ...options });
    const guest = new Guest(machine);
    try {
      await guest.ready(seconds);
      return guest;
    } catch (error) {
      await machine.stop();
      throw error;
    }
  }

  /** Until the guest's shell listens, after a boot. */
  async ready(seconds = 90): Promise<void> {
    await this.#until(/guest-is-ready/, seconds);
  }

  /** All that it has written and nobody has taken. */
  get text(): string {
    return this.#text;
  }

  /**
   * A command in the guest's shell.
   *
   * @returns What it wrote.
   * @throws {Error} It failed, or did not end in time.
   */
  async sh(command: string, seconds = 60): Promise<string> {
    const id = String(this.#serial++);
    this.machine.type(`${command}\necho "@@"${id}:$?@@\n`);
    const [output, status] = await this.#until(new RegExp(`@@${id}:(\\d+)@@\\r?\\n`), seconds);
    if (status !== '0') throw new Error(`${command}: ended with ${status}: ${output}`);
    return output.replaceAll('\r', '').trim();
  }

  /** What was written before a pattern, and what its group matched. Both are taken. */
  async #until(pattern: RegExp, seconds: number): Promise<[before: string, group: string]> {
    const signal = AbortSignal.timeout(seconds * 1000);
    for (;;) {
      const found = pattern.exec(this.#text);
      if (found) {
        const before = this.#text.slice(0, found.index);
        this.#text = this.#text.slice(found.index + found[0].length);
        return [before, found[1] ?? ''];
      }
      try {
        await once(this.machine, 'output', { signal });
      } catch {
        const said = this.#text.split('\n').slice(-HELD).join('\n');
        throw new Error(`nothing like ${String(pattern)} in ${String(seconds)} s, but: ${said}`);
      }
    }
  }

  /** Ends it. */
  async stop(): Promise<void> {
    await this.machine.stop();
  }
}
