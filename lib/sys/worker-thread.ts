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

/** Whether the worker still exists. */
export function workerAlive(worker: WorkerThread): boolean {
  const folder = worker.kind === 'task' ? '/proc/self/task' : '/proc';
  try {
    return fs.readFileSync(`${folder}/${String(worker.tid)}/comm`, 'utf8').trim() === worker.name;
  } catch {
    return false;
  }
}

/** Nanoseconds of CPU time that the worker has used. `/proc/…/schedstat`. Undefined once it is gone. */
export function workerCpuTime(worker: WorkerThread): number | undefined {
  const folder = worker.kind === 'task' ? '/proc/self/task' : '/proc';
  try {
    const text = fs.readFileSync(`${folder}/${String(worker.tid)}/schedstat`, 'utf8');
    return Number(text.split(' ', 1)[0]);
  } catch {
    return undefined;
  }
}
