import fs from 'node:fs';

/** One thread, as the kernel lists it. */
export interface Thread {
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

/** The threads of a process, apart: its own, and its vhost workers. */
export function threadsOf(pid: number): { app: Thread[]; workers: Thread[] } {
  const isWorker = ({ name }: Thread) => name.startsWith('vhost-');
  const all = threadsIn(`/proc/${String(pid)}/task`);
  const app = all.filter((thread) => !isWorker(thread));
  const workers = all.filter(isWorker);
  if (workers.length > 0) return { app, workers };
  // Before Linux 6.4 they are threads of the kernel, and only their name says which thread made them.
  const theirs = new Set(app.map(({ tid }) => `vhost-${String(tid)}`));
  return { app, workers: threadsIn('/proc').filter(({ name }) => theirs.has(name)) };
}

/** Nanoseconds of CPU time that threads have used; one that has ended has used none. */
export function cpuTime(threads: readonly Thread[]): number {
  return threads.reduce((total, { folder }) => total + threadTime(folder), 0);
}

function threadTime(folder: string): number {
  try {
    return Number(fs.readFileSync(`${folder}/schedstat`, 'utf8').split(' ', 1)[0]);
  } catch {
    return 0;
  }
}

/** Columns of `/proc/net/dev`. */
const COLUMNS = { received: 1, transmitted: 9 } as const;

/**
 * Frames that an interface has counted. A tap *receives* what its program sends, and *transmits*
 * what its program receives.
 */
export function frames(name: string, direction: keyof typeof COLUMNS): number {
  const lines = fs.readFileSync('/proc/net/dev', 'utf8').split('\n');
  const line = lines.find((text) => text.trimStart().startsWith(`${name}:`));
  if (line === undefined) throw new Error(`no interface ${name}`);
  return Number(
    line
      .slice(line.indexOf(':') + 1)
      .trim()
      .split(/\s+/)[COLUMNS[direction]],
  );
}
