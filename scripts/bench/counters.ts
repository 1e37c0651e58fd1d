import fs from 'node:fs';

/** What has been counted up to one moment. */
export interface Sample {
  readonly nanoseconds: bigint;
  readonly frames: number;
  readonly appNs: number;
  readonly workerNs: number;
}

/** One thread, as the kernel lists it. */
interface Thread {
  readonly tid: number;
  readonly folder: string;
  readonly name: string;
}

function readThread(folder: string): Thread | undefined {
  try {
    const name = fs.readFileSync(`${folder}/comm`, 'utf8').trim();
    return { tid: Number(folder.slice(folder.lastIndexOf('/') + 1)), folder, name };
  } catch {
    return undefined; // It ended between the listing and now.
  }
}

function threadsIn(folder: string): Thread[] {
  const names = fs.readdirSync(folder).filter((name) => /^\d+$/.test(name));
  return names.flatMap((name) => readThread(`${folder}/${name}`) ?? []);
}

/** The vhost worker of a process: one of its threads, or (before Linux 6.4) a thread of the kernel. */
export function findWorkers(pid: number): Thread[] {
  const isWorker = ({ name }: Thread) => name.startsWith('vhost-');
  const own = threadsIn(`/proc/${String(pid)}/task`).filter(isWorker);
  return own.length > 0 ? own : threadsIn('/proc').filter(({ name }) => name === `vhost-${String(pid)}`);
}

/** Nanoseconds of CPU time of a thread, given its folder in /proc. */
export function cpuTime(folder: string): number {
  return Number(fs.readFileSync(`${folder}/schedstat`, 'utf8').split(' ', 1)[0]);
}

/** What a tap received from its program, which is what the program sent. */
export function framesReceived(tap: string): number {
  const line = fs
    .readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .find((text) => text.trimStart().startsWith(`${tap}:`));
  if (line === undefined) throw new Error(`no interface ${tap}`);
  return Number(line.slice(line.indexOf(':') + 1).trim().split(/\s+/)[1]);
}
