import fs from 'node:fs';

import { VhostError, misuse } from '../errors.js';
import { native } from '../native.js';
import type { NativeDescriptor } from '../native.js';

/** Linux's numbers of scheduling policies. `<linux/sched.h>`. */
const POLICIES = { other: 0, fifo: 1, rr: 2, batch: 3, idle: 5 } as const;

/** How a worker competes for CPUs. `sched(7)`. */
export interface WorkerScheduling {
  /** Its policy: the first letters of the kernel's `SCHED_*` left out. */
  readonly policy: keyof typeof POLICIES;
  /** 1 to 99 for `fifo` and `rr`, higher goes first; 0 for the others. */
  readonly priority: number;
  /** −20 to 19, lower gets more; counts with `other` and `batch`. */
  readonly nice: number;
}

/** What is known of a worker when it is made. */
interface Identity {
  readonly tid: number;
  readonly name: string;
  readonly kind: 'task' | 'kthread';
}

/** The kernel thread behind one vhost descriptor. Of one that is gone everything is undefined or an error. */
export class WorkerThread {
  /** Its thread id, in this process's PID namespace. */
  readonly tid: number;
  /** `vhost-` and the tid, in the initial PID namespace, of the thread that set the owner. */
  readonly name: string;
  /** `task`: a thread of this process (Linux 6.4 and later); `kthread`: a kernel thread (before). */
  readonly kind: 'task' | 'kthread';

  readonly #vhost: NativeDescriptor;
  #retired = false;

  /** @internal See {@link describeWorker}. */
  constructor({ tid, name, kind }: Identity, vhost: NativeDescriptor) {
    this.tid = tid;
    this.name = name;
    this.kind = kind;
    this.#vhost = vhost;
  }

  /** @internal The descriptor has no owner any more, and perhaps gets another worker. */
  retire(): void {
    this.#retired = true;
  }

  /** Whether it still serves its descriptor. */
  get alive(): boolean {
    return this.#read('comm')?.trim() === this.name;
  }

  /** Nanoseconds of CPU time that it has used. `/proc/…/schedstat`. Undefined once it is gone. */
  get cpuTime(): number | undefined {
    const text = this.#read('schedstat');
    return text === undefined ? undefined : Number(text.split(' ', 1)[0]);
  }

  /** Whether it waits for something to do, and does not merely want a CPU. `/proc/…/stat`. */
  get sleeps(): boolean {
    // The state comes behind the name, which is in parentheses.
    return this.#read('stat')?.split(') ')[1]?.startsWith('S') ?? false;
  }

  /**
   * The CPUs that it may run on. `sched_getaffinity(2)`.
   *
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   */
  affinity(): number[] {
    return native.workerGetAffinity(this.#open());
  }

  /**
   * Lets it run on these CPUs only. `sched_setaffinity(2)`. A new worker that is a thread of this
   * process has the CPUs of the thread that set the owner.
   *
   * @param cpus  Numbers from 0 on.
   * @throws {VhostSystemError} `EINVAL`: none of them is there, or may be used; `EPERM`: a kernel thread, and
   * no CAP_SYS_NICE.
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   */
  setAffinity(cpus: readonly number[]): void {
    if (!Array.isArray(cpus)) throw misuse.type('cpus', 'an array of numbers', cpus);
    const unfit = (cpus as readonly unknown[]).find((cpu) => !isCpu(cpu));
    if (unfit !== undefined) throw misuse.range('cpus', 'integers in 0..8191', unfit);
    native.workerSetAffinity(this.#open(), cpus);
  }

  /**
   * How it competes for CPUs now. `sched_getscheduler(2)`, `getpriority(2)`.
   *
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   */
  scheduling(): WorkerScheduling {
    const [number, priority, nice] = native.workerGetScheduling(this.#open());
    const names = Object.keys(POLICIES) as WorkerScheduling['policy'][];
    const policy = names.find((name) => POLICIES[name] === number);
    if (policy === undefined) {
      throw new VhostError('ERR_VHOST_UNSUPPORTED', `scheduling policy ${String(number)}`);
    }
    return { policy, priority, nice };
  }

  /**
   * Changes that, all of it or nothing; what is not named stays, but a priority goes with its policy.
   * `sched_setattr(2)`.
   *
   * @throws {VhostSystemError} `EPERM`: no CAP_SYS_NICE; `EINVAL`: a priority that the policy has not.
   * @throws {VhostError} `ERR_VHOST_CLOSED`.
   */
  setScheduling(scheduling: Partial<WorkerScheduling>): void {
    checkScheduling(scheduling);
    const now = this.scheduling();
    const { policy = now.policy, nice = now.nice } = scheduling;
    const { priority = policy === now.policy ? now.priority : 0 } = scheduling;
    native.workerSetScheduling(this.#open(), POLICIES[policy], priority, nice);
  }

  #open(): NativeDescriptor {
    if (this.alive) return this.#vhost;
    throw new VhostError('ERR_VHOST_CLOSED', 'the worker is gone');
  }

  /**
   * A file of its in proc(5); undefined once it is gone. The kernel has stopped it when its descriptor
   * is closed, and may take its time to clear away what is left of the thread.
   */
  #read(file: string): string | undefined {
    if (this.#retired || this.#vhost.fd === -1) return undefined;
    try {
      return fs.readFileSync(`${folderOf(this)}/${file}`, 'utf8');
    } catch {
      return undefined;
    }
  }
}

/** The most that any kernel can have, CONFIG_NR_CPUS, is 8192. */
function isCpu(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < 8192;
}

const FIELDS = ['policy', 'priority', 'nice'];

function checkScheduling(scheduling: Partial<WorkerScheduling>): void {
  if (typeof (scheduling as unknown) !== 'object' || (scheduling as unknown) === null) {
    throw misuse.type('scheduling', 'an object', scheduling);
  }
  const other = Object.keys(scheduling).find((name) => !FIELDS.includes(name));
  if (other !== undefined) throw misuse.unknown(other, FIELDS);
  const { policy = 'other', priority = 0, nice = 0 } = scheduling;
  const names = Object.keys(POLICIES);
  if (!names.includes(policy)) throw misuse.range('policy', names.join(', '), policy);
  checkInteger('priority', priority, 0, 99);
  checkInteger('nice', nice, -20, 19);
}

function checkInteger(option: string, value: unknown, least: number, most: number): void {
  if (typeof value !== 'number') throw misuse.type(option, 'a number', value);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw misuse.range(option, `an integer in ${String(least)}..${String(most)}`, value);
  }
}

function folderOf({ tid, kind }: Pick<Identity, 'tid' | 'kind'>): string {
  return kind === 'task' ? `/proc/self/task/${String(tid)}` : `/proc/${String(tid)}`;
}

/**
 * Describes a worker that was just created.
 *
 * @param tid  0: it could not be known which.
 * @param vhost  The descriptor that it serves.
 */
export function describeWorker(tid: number, vhost: NativeDescriptor): WorkerThread | undefined {
  if (tid === 0) return undefined;
  const kind = fs.existsSync(folderOf({ tid, kind: 'task' })) ? 'task' : 'kthread';
  try {
    const name = fs.readFileSync(`${folderOf({ tid, kind })}/comm`, 'utf8').trim();
    return new WorkerThread({ tid, kind, name }, vhost);
  } catch {
    return undefined; // It is gone already: nothing true can be said of it.
  }
}
