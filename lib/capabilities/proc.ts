import fs from 'node:fs';
import path from 'node:path';

/** The text of a file that the kernel may not have, or not for us. */
export function readText(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** Names in a folder that may not be there. */
export function readFolder(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

/** Bit numbers of capabilities. `<linux/capability.h>`. */
const CAPABILITIES = {
  CAP_NET_ADMIN: 12,
  CAP_NET_RAW: 13,
  CAP_SYS_ADMIN: 21,
  CAP_SYS_NICE: 23,
} as const;

/** A capability that this package has a use for. */
export type CapabilityName = keyof typeof CAPABILITIES;

/** Which of them this process has in force. */
export function effectiveCapabilities(): Record<CapabilityName, boolean> {
  const hex = /^CapEff:\s*([0-9a-f]+)$/m.exec(readText('/proc/self/status') ?? '')?.[1] ?? '0';
  const set = BigInt(`0x${hex}`);
  const has = (name: CapabilityName) => ((set >> BigInt(CAPABILITIES[name])) & 1n) === 1n;
  return {
    CAP_NET_ADMIN: has('CAP_NET_ADMIN'),
    CAP_NET_RAW: has('CAP_NET_RAW'),
    CAP_SYS_ADMIN: has('CAP_SYS_ADMIN'),
    CAP_SYS_NICE: has('CAP_SYS_NICE'),
  };
}

/** A resource limit in force, by its name in `/proc/self/limits`; undefined = none. */
export function limit(name: string): number | undefined {
  const line = (readText('/proc/self/limits') ?? '')
    .split('\n')
    .find((one) => one.startsWith(name));
  const soft = line?.slice(name.length).trim().split(/\s+/)[0];
  return soft === undefined || soft === 'unlimited' ? undefined : Number(soft);
}

/** The cgroup that lets no more processes in, of those that this process is in. */
export function fullPidsGroup(): { folder: string; most: number } | undefined {
  const name = /^0::(.*)$/m.exec(readText('/proc/self/cgroup') ?? '')?.[1];
  if (name === undefined) return undefined;
  const root = '/sys/fs/cgroup';
  for (
    let folder = path.join(root, name);
    folder.length > root.length;
    folder = path.dirname(folder)
  ) {
    const most = Number(readText(path.join(folder, 'pids.max')) ?? NaN); // NaN as well for `max`
    const now = Number(readText(path.join(folder, 'pids.current')) ?? NaN);
    if (now >= most) return { folder, most };
  }
  return undefined;
}

/** Whether the kernel that runs has a module, loaded or not; undefined when there is no list of them. */
export function moduleAvailable(name: string, release: string): boolean | undefined {
  if (fs.existsSync(`/sys/module/${name}`)) return true;
  const lists = ['modules.dep', 'modules.builtin'].map((file) =>
    readText(`/lib/modules/${release}/${file}`),
  );
  if (lists.every((list) => list === undefined)) return undefined;
  // A module's file may have dashes where its name has underscores: kvm_amd is kvm-amd.ko.
  const file = name.replaceAll('_', '[-_]');
  return lists.some((list) => new RegExp(`/${file}\\.ko`, 'm').test(list ?? ''));
}

/** The minor number under which the kernel serves a misc device now. */
export function miscMinor(name: string): number | undefined {
  const minor = new RegExp(`^\\s*(\\d+) ${name}$`, 'm').exec(readText('/proc/misc') ?? '')?.[1];
  return minor === undefined ? undefined : Number(minor);
}

/** Where a program is that the shell would find. */
export function findProgram(name: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(':');
  return [...folders, '/usr/sbin', '/sbin']
    .filter(Boolean)
    .map((folder) => path.join(folder, name))
    .find((file) => fs.existsSync(file));
}

/** Programs that start another one and end with it; npm gives itself its command as a name. */
const STARTERS = /^Name:\s*(npm |sudo$)/m;

/** Between npm and what it runs there is a shell of npm's own. */
const OF_NPM = /(^|\0)npm_lifecycle_event=/;

/** The process whose limits the next command of this user's will have: mostly a shell. */
export function callingProcess(): number {
  let pid = process.ppid;
  for (;;) {
    const status = readText(`/proc/${String(pid)}/status`) ?? '';
    const environment = readText(`/proc/${String(pid)}/environ`) ?? '';
    const parent = Number(/^PPid:\s*(\d+)$/m.exec(status)?.[1] ?? 0);
    if (parent === 0 || !(STARTERS.test(status) || OF_NPM.test(environment))) return pid;
    pid = parent;
  }
}
