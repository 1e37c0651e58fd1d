import type { TraceEvent } from './lines.js';
import type { Notes } from './notes.js';
import type { KernelRecord, Span } from './record.js';

/** The index so much further on; indices run free over 16 bits. */
export function advance(index: number, by: number): number {
  return (index + by) & 0xffff;
}

/** Nanoseconds in microseconds, as people read them. */
export function duration(nanoseconds: number): string {
  return `${(nanoseconds / 1000).toFixed(1)} µs`;
}

/** Which thread did it, and where. */
export function who({ task, tid, cpu }: TraceEvent): string {
  return `${task}-${String(tid)} on CPU ${String(cpu)}`;
}

/** `sched:sched_waking`. */
export function wakes(event: TraceEvent): string {
  const { comm = '', pid = '' } = event.fields;
  return `${who(event)} wakes ${comm}-${pid}`;
}

/** `sched:sched_switch`. */
export function runs({ cpu, fields }: TraceEvent): string {
  const { prev_comm: from = '', next_comm: to = '', next_pid: tid = '' } = fields;
  return `CPU ${String(cpu)} goes from ${from} to ${to}-${tid}`;
}

/** Steps 2 and 9 end with a kick, which wakes the worker if it sleeps. */
export function noteKick(fd: number, span: Span, notes: Notes, kernel: KernelRecord): void {
  const written = kernel.written(fd, span);
  notes.event('syscalls:sys_enter_write', written?.began, (event) => {
    return `${who(event)} writes the kick eventfd, ${String(fd)}`;
  });
  const within = { since: written?.began.nanoseconds, until: written?.ended?.nanoseconds };
  notes.perhaps(kernel.workerWoken(within), wakes);
}
