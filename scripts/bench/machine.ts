import fs from 'node:fs';

/** CPU time in clock ticks, up to one moment. */
export interface ProcessorTimes {
  readonly at: bigint;
  /** Of the whole machine. */
  readonly busy: number;
  /** Of this process and every child that it has waited for, and theirs. */
  readonly ours: number;
}

const TICKS_PER_SECOND = 100;

function busyTicks(): number {
  const [first = ''] = fs.readFileSync('/proc/stat', 'utf8').split('\n', 1);
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = first
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return user + nice + system + irq + softirq + steal;
}

/** `proc_pid_stat(5)`: utime, stime, cutime, cstime, counted from behind the name. */
function ownTicks(): number {
  const text = fs.readFileSync('/proc/self/stat', 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
}

export function processorTimes(): ProcessorTimes {
  return { at: process.hrtime.bigint(), busy: busyTicks(), ours: ownTicks() };
}

/** How many CPUs something other than we kept busy, on average; what was stolen counts as theirs. */
export function busyElsewhere(before: ProcessorTimes, after: ProcessorTimes): number {
  const ticks = after.busy - before.busy - (after.ours - before.ours);
  const seconds = Number(after.at - before.at) / 1e9;
  return Math.max(0, ticks / TICKS_PER_SECOND / seconds);
}
