/** One line of a tracefs file `trace`: what a thread did, where and when. */
export interface TraceEvent {
  /** The thread's name, as far as the kernel still knew it. */
  readonly task: string;
  /** Its id, in the initial PID namespace. */
  readonly tid: number;
  readonly cpu: number;
  /** By the instance's clock. The kernel prints whole microseconds. */
  readonly nanoseconds: bigint;
  /** The tracepoint's name, as in tracefs, without its subsystem. */
  readonly name: string;
  /** What it tells, by the kernel's names. Of a system call that returns: `result`. */
  readonly fields: Readonly<Record<string, string>>;
}

/** Task, thread, CPU, flags, seconds and microseconds; the rest is the event. */
const LINE = /^\s*(.+)-(\d+)\s+\[(\d+)\]\s+\S+\s+(\d+)\.(\d{6}): (.*)$/;

/** A tracepoint names itself; of a system call the name is printed as if it were called. */
const EVENT = /^(\w+): (.*)$/;
const ENTER = /^sys_(\w+)\((.*)\)$/;
const EXIT = /^sys_(\w+) -> (\S+)$/;

/** A value goes as far as the next name: a task's name may have spaces. */
const FIELD = /(\w+)=(.*?)(?= (?:==> )?\w+=|$)/g;

/** The kernel prints numbers of system calls in hexadecimal, and may show what a pointer points to. */
const ARGUMENT = /(\w+): (?:0x)?([0-9a-f]+)/g;

/** The events of a file `trace`, in its order. Comments and what is no event are left out. */
export function parseTrace(text: string): TraceEvent[] {
  return text.split('\n').flatMap((line) => parseLine(line) ?? []);
}

function parseLine(line: string): TraceEvent | undefined {
  const [, task = '', tid, cpu, seconds = '', micros = '', rest = ''] = LINE.exec(line) ?? [];
  const event = parseEvent(rest);
  if (tid === undefined || event === undefined) return undefined;
  const nanoseconds = (BigInt(seconds) * 1_000_000n + BigInt(micros)) * 1000n;
  return { task, tid: Number(tid), cpu: Number(cpu), nanoseconds, ...event };
}

function parseEvent(text: string): Pick<TraceEvent, 'name' | 'fields'> | undefined {
  const [, entered, given = ''] = ENTER.exec(text) ?? [];
  if (entered !== undefined)
    return { name: `sys_enter_${entered}`, fields: pairs(ARGUMENT, given) };
  const [, left, result = ''] = EXIT.exec(text) ?? [];
  if (left !== undefined) return { name: `sys_exit_${left}`, fields: { result } };
  const [, name, told = ''] = EVENT.exec(text) ?? [];
  return name === undefined ? undefined : { name, fields: pairs(FIELD, told) };
}

/** The first of a name counts: what a pointer points to comes behind it and may look like anything. */
function pairs(pattern: RegExp, text: string): Record<string, string> {
  const found = Array.from(text.matchAll(pattern), ([, name = '', value = '']) => [name, value]);
  return Object.fromEntries(found.reverse()) as Record<string, string>;
}
