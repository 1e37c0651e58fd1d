import fs from 'node:fs';

import { native } from '#lib/native';

/** What a process must have as many of after a test as before. */
export interface ProcessState {
  readonly descriptors: number;
  readonly mappings: number;
  /** Threads with the name of a vhost worker, and kernel threads named after this process. */
  readonly workers: readonly string[];
}

/** Threads of a folder of them whose name fits, as `name:tid`. */
function threads(folder: string, fits: RegExp): string[] {
  return numbers(folder).flatMap((tid) => {
    try {
      const comm = fs.readFileSync(`${folder}/${tid}/comm`, 'utf8').trim();
      return fits.test(comm) ? [`${comm}:${tid}`] : [];
    } catch {
      return []; // It ended while we looked.
    }
  });
}

function numbers(folder: string): string[] {
  try {
    return fs.readdirSync(folder).filter((entry) => /^\d+$/.test(entry));
  } catch {
    return []; // As above.
  }
}

function workers(): string[] {
  const own = new RegExp(`^vhost-${String(process.pid)}$`);
  return [...threads('/proc/self/task', /^vhost-/), ...threads('/proc', own)].sort();
}

/** Threads of machines: those that run vCPUs, and the kernel's for the virtual machines of this process. */
export function machineThreads(): string[] {
  const own = new RegExp(`^kvm-.*\\b${String(process.pid)}$`);
  return [...threads('/proc/self/task', /^(vcpu-|kvm-)/), ...threads('/proc', own)].sort();
}

/** Workers of every process: threads of it from Linux 6.4 on, before that of the kernel. */
export function allWorkers(): string[] {
  return numbers('/proc').flatMap((pid) => threads(`/proc/${pid}/task`, /^vhost-/));
}

/** Counts now, after a garbage collection. */
export function processState(): ProcessState {
  global.gc?.();
  return {
    descriptors: fs.readdirSync('/proc/self/fd').length,
    // Only those of this package: V8's heap comes and goes.
    mappings: native.pagesCount(),
    workers: workers(),
  };
}

/** Every mapping of the process, as the kernel has them. */
export function kernelMappings(): number {
  return fs.readFileSync('/proc/self/maps', 'utf8').split('\n').length;
}

/** Resident bytes of this process. */
export function residentBytes(): number {
  global.gc?.();
  return process.memoryUsage.rss();
}
