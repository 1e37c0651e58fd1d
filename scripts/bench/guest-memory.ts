import fs from 'node:fs';

/** A mapping of `proc_pid_smaps(5)`: whether it can be written, how long it is, how much is there; KiB. */
interface Range {
  readonly writable: boolean;
  readonly size: number;
  readonly resident: number;
}

function ranges(pid: number): Range[] {
  const text = fs.readFileSync(`/proc/${String(pid)}/smaps`, 'utf8');
  return text.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m).map((one) => ({
    writable: one.slice(0, one.indexOf('\n')).includes(' rw'),
    size: Number(/^Size: +(\d+)/m.exec(one)?.[1]),
    resident: Number(/^Rss: +(\d+)/m.exec(one)?.[1]),
  }));
}

/**
 * What a process has in memory besides the guest's own, in MiB: libraries that others have too count in full.
 *
 * @param guestMib  The guest's memory: the one mapping that is as long.
 */
export function memoryBeyond(pid: number, guestMib: number): number {
  const guestKib = guestMib * 1024;
  const isGuest = ({ writable, size }: Range) => writable && size >= guestKib;
  const all = ranges(pid);
  if (all.filter(isGuest).length !== 1)
    throw new Error("which mapping is the guest's is not known");
  const rest = all.filter((range) => !isGuest(range));
  return rest.reduce((sum, { resident }) => sum + resident, 0) / 1024;
}
