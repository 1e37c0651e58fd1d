import fs from 'node:fs';

/** What a process must have as many of after a test as before. */
export interface ProcessState {
  readonly descriptors: number;
  readonly mappings: number;
  /** Threads with the name of a vhost worker, and kernel threads named after this process. */
  readonly workers: readonly string[];
}

function workers(): string[] {
  const names = (folder: string, fits: RegExp) =>
    fs
      .readdirSync(folder)
      .filter((entry) => /^\d+$/.test(entry))
      .flatMap((tid) => {
        try {
          const comm = fs.readFileSync(`${folder}/${tid}/comm`, 'utf8').trim();
          return fits.test(comm) ? [`${comm}:${tid}`] : [];
        } catch {
          return []; // It ended while we looked.
        }
      });
  const own = new RegExp(`^vhost-${String(process.pid)}$`);
  return [...names('/proc/self/task', /^vhost-/), ...names('/proc', own)].sort();
}

/** Counts now, after a garbage collection. */
export function processState(): ProcessState {
  global.gc?.();
  return {
    descriptors: fs.readdirSync('/proc/self/fd').length,
    // Only shared and anonymous maps of our own making: V8's heap comes and goes.
    mappings: vhostMappings(),
    workers: workers(),
  };
}

/** Mappings with MADV_DONTFORK: the mark of this package's pages. `VmFlags: … dc …`. */
function vhostMappings(): number {
  const smaps = fs.readFileSync('/proc/self/smaps', 'utf8');
  return smaps.match(/^VmFlags:.* dc( |$)/gm)?.length ?? 0;
}

/** Resident bytes of this process. */
export function residentBytes(): number {
  global.gc?.();
  return process.memoryUsage.rss();
}
