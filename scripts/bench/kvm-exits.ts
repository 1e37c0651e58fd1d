import { execFileSync } from 'node:child_process';
import fs from 'node:fs';

const DEBUG = '/sys/kernel/debug';
const TRACING = '/sys/kernel/tracing';
const TRIGGER = `${TRACING}/events/kvm/kvm_userspace_exit/trigger`;
const HISTOGRAM = `${TRACING}/events/kvm/kvm_userspace_exit/hist`;
const COUNT = 'hist:keys=reason';

/** How often guests were left, as KVM itself counts it, over all virtual machines of the host. */
export interface KvmExits {
  /** Into the kernel, from where most go on at once. */
  readonly kernel: number;
  /** On to a user-space program. */
  readonly user: number;
}

/** Looks at KVM's counters while it is open: those of debugfs, and the tracepoint of exits to programs. */
export class KvmExitCounters {
  constructor() {
    if (!fs.existsSync(`${DEBUG}/kvm`)) execFileSync('mount', ['-t', 'debugfs', 'none', DEBUG]);
    if (!fs.existsSync(TRIGGER)) execFileSync('mount', ['-t', 'tracefs', 'none', TRACING]);
    fs.writeFileSync(TRIGGER, COUNT);
  }

  read(): KvmExits {
    const [, hits] = /Hits: (\d+)/.exec(fs.readFileSync(HISTOGRAM, 'utf8')) ?? [];
    return { kernel: Number(fs.readFileSync(`${DEBUG}/kvm/exits`, 'utf8')), user: Number(hits) };
  }

  close(): void {
    fs.writeFileSync(TRIGGER, `!${COUNT}`);
  }
}
