import fs from 'node:fs';

/** The kernel thread behind one vhost descriptor. */
export interface WorkerThread {
  /** Its thread id, in this process's PID namespace. */
  readonly tid: number;
  /** `vhost-` and the tid, in the initial PID namespace, of the thread that set the owner. */
  readonly name: string;
  /** `task`: a thread of this process (Linux 6.4 and later); `kthread`: a kernel thread (before). */
  readonly kind: 'task' | 'kthread';
}

/**
 * Describes a worker that was just created.
 *
 * @param tid  0: it could not be known which.
 */
export function describeWorker(tid: number): WorkerThread | undefined {
  if (tid === 0) return undefined;
  const own = `/proc/self/task/${String(tid)}`;
  const kind = fs.existsSync(own) ? 'task' : 'kthread';
  const folder = kind === 'task' ? own : `/proc/${String(tid)}`;
  try {
    return { tid, kind, name: fs.readFileSync(`${folder}/comm`, 'utf8').trim() };
  } catch {
    return undefined; // It is gone already: nothing true can be said of it.
  }
}

/** A file of the worker's in proc(5); undefined once it is gone. */
function read(worker: WorkerThread, file: string): string | undefined {
  const folder = worker.kind === 'task' ? '/proc/self/task' : '/proc';
  try {
    return fs.readFileSync(`${folder}/${String(worker.tid)}/${file}`, 'utf8');
  } catch {
    return undefined;
  }
}

/** Whether the worker still exists. */
export function workerAlive(worker: WorkerThread): boolean {
  return read(worker, 'comm')?.trim() === worker.name;
}

/** Nanoseconds of CPU time that the worker has used. `/proc/…/schedstat`. Undefined once it is gone. */
export function workerCpuTime(worker: WorkerThread): number | undefined {
  const text = read(worker, 'schedstat');
  return text === undefined ? undefined : Number(text.split(' ', 1)[0]);
}

/** Whether the worker waits for something to do, and does not merely want a CPU. `/proc/…/stat`. */
export function workerSleeps(worker: WorkerThread): boolean {
  // The state comes behind the name, which is in parentheses.
  return read(worker, 'stat')?.split(') ')[1]?.startsWith('S') ?? false;
}
