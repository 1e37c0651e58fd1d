import { spawnSync } from 'node:child_process';

import { check, codeOf } from './check.js';
import type { Check, Finding } from './check.js';
import { nodeFailure } from './node.js';
import { callingProcess, effectiveCapabilities, findProgram } from './proc.js';
import { limit, miscMinor, readText } from './proc.js';
import type { CapabilityName } from './proc.js';
import { Kvm } from '../sys/kvm.js';

/** Checks of what only some uses of the package need. */
export function machineChecks(): Check[] {
  return [
    check('KVM', false, kvm()),
    check('Open vSwitch', false, openVSwitch()),
    check('huge pages', false, hugePages()),
    check('open files', false, openFiles()),
    ...rights(),
  ];
}

const USES: Readonly<Record<CapabilityName, string>> = {
  CAP_NET_ADMIN: 'to make taps and set them up',
  CAP_NET_RAW: 'for packet sockets as a backend',
  CAP_SYS_ADMIN: 'for the option netns',
  CAP_SYS_NICE: "to set a worker's scheduling",
};

/** A capability is given when a program starts: there is no command for one that runs. */
function rights(): Check[] {
  const held = effectiveCapabilities();
  return (Object.keys(USES) as CapabilityName[]).map((name) =>
    check(name, false, { ok: held[name], detail: USES[name] }),
  );
}

const KVM = { path: Kvm.PATH, misc: 'kvm', everybody: false } as const;

/** Opened, and not only looked at: the node may be there without a module, or not be allowed here. */
function kvm(): Finding {
  try {
    new Kvm().close();
    return { ok: true, detail: 'for machine mode; opened to read and write' };
  } catch (error) {
    const cpu = readText('/proc/cpuinfo') ?? '';
    const module = /\bvmx\b/.test(cpu) ? 'kvm_intel' : /\bsvm\b/.test(cpu) ? 'kvm_amd' : undefined;
    const absent = codeOf(error) === 'ENOENT' || codeOf(error) === 'ENODEV';
    if (module === undefined && absent && miscMinor(KVM.misc) === undefined) {
      return {
        ok: false,
        detail: `no ${KVM.path}: this CPU (or virtual CPU) has no vmx and no svm`,
      };
    }
    return nodeFailure({ ...KVM, module: module ?? 'kvm' }, error);
  }
}

function openVSwitch(): Finding {
  const program = findProgram('ovs-vsctl');
  if (program === undefined) {
    const remedy = findProgram('apt-get') && 'apt-get install -y openvswitch-switch';
    return { ok: false, detail: 'to join taps in a switch; no ovs-vsctl', remedy };
  }
  // Asked, and not only looked for: a socket stays behind a server that was killed.
  const question = ['--timeout=2', '--no-wait', 'list', 'Open_vSwitch'];
  const { status, stderr, error } = spawnSync(program, question, { encoding: 'utf8' });
  // Such as a full limit of processes, which others of these checks are about.
  if (error) return { ok: false, detail: `${program} can not be run (${codeOf(error)})` };
  if (status === 0) return { ok: true, detail: `${program}, and its database runs` };
  if (stderr.includes('Permission denied')) {
    return { ok: false, detail: `${program} is there, its database is not for this user` };
  }
  const remedy = '/usr/share/openvswitch/scripts/ovs-ctl start --system-id=random';
  return { ok: false, detail: `${program} is there, its database does not run`, remedy };
}

function hugePages(): Finding {
  const transparent = /\[(\w+)\]/.exec(
    readText('/sys/kernel/mm/transparent_hugepage/enabled') ?? '',
  )?.[1];
  const free = /^HugePages_Free:\s*(\d+)/m.exec(readText('/proc/meminfo') ?? '')?.[1] ?? '0';
  const ok = transparent === 'always' || transparent === 'madvise';
  const detail = `transparent: ${transparent ?? 'not in this kernel'}; ${free} reserved and free`;
  const file = '/sys/kernel/mm/transparent_hugepage/enabled';
  const remedy = ok || transparent === undefined ? undefined : `echo madvise > ${file}`;
  return { ok, detail, remedy };
}

/** A port takes 10 descriptors, and Node a few dozen. */
const FEW_FILES = 64;

function openFiles(): Finding {
  const most = limit('Max open files');
  const ok = most === undefined || most >= FEW_FILES;
  const detail = `${most === undefined ? 'no limit' : `at most ${String(most)}`}; a port takes 10`;
  const remedy = ok ? undefined : `prlimit --nofile=1024 --pid ${String(callingProcess())}`;
  return { ok, detail, remedy };
}
