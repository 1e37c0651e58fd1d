import fs from 'node:fs';

import { withoutXsave } from './guest-cpuid.js';
import { VhostError } from '../errors.js';
import { Kvm } from '../sys/kvm.js';
import type { CpuidLeaf } from '../sys/kvm.js';
import {
  KVM_API_VERSION,
  KVM_CAP_EXT_CPUID,
  KVM_CAP_IMMEDIATE_EXIT,
  KVM_CAP_IOEVENTFD,
  KVM_CAP_IOEVENTFD_ANY_LENGTH,
  KVM_CAP_IRQCHIP,
  KVM_CAP_IRQFD,
  KVM_CAP_IRQ_ROUTING,
  KVM_CAP_PIT2,
  KVM_CAP_SET_IDENTITY_MAP_ADDR,
  KVM_CAP_SET_TSS_ADDR,
  KVM_CAP_TSC_DEADLINE_TIMER,
  KVM_CAP_USER_MEMORY,
} from '../uapi/kvm.js';

/** What a machine can't do without. */
const REQUIRED: readonly (readonly [capability: number, name: string])[] = [
  [KVM_CAP_USER_MEMORY, 'KVM_CAP_USER_MEMORY'],
  [KVM_CAP_SET_TSS_ADDR, 'KVM_CAP_SET_TSS_ADDR'],
  [KVM_CAP_SET_IDENTITY_MAP_ADDR, 'KVM_CAP_SET_IDENTITY_MAP_ADDR'],
  [KVM_CAP_IRQCHIP, 'KVM_CAP_IRQCHIP'],
  [KVM_CAP_PIT2, 'KVM_CAP_PIT2'],
  [KVM_CAP_EXT_CPUID, 'KVM_CAP_EXT_CPUID'],
  [KVM_CAP_TSC_DEADLINE_TIMER, 'KVM_CAP_TSC_DEADLINE_TIMER'],
  [KVM_CAP_IRQ_ROUTING, 'KVM_CAP_IRQ_ROUTING'],
  [KVM_CAP_IRQFD, 'KVM_CAP_IRQFD'],
  [KVM_CAP_IOEVENTFD, 'KVM_CAP_IOEVENTFD'],
  [KVM_CAP_IOEVENTFD_ANY_LENGTH, 'KVM_CAP_IOEVENTFD_ANY_LENGTH'],
  [KVM_CAP_IMMEDIATE_EXIT, 'KVM_CAP_IMMEDIATE_EXIT'],
];

/**
 * Opens KVM and sees that it has all that a machine needs.
 *
 * @throws {VhostSystemError} It can't be opened; the hint says why.
 * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`: what it lacks.
 */
export function openKvm(path?: string): Kvm {
  const kvm = new Kvm(path);
  try {
    checkKvm(kvm);
    return kvm;
  } catch (error) {
    kvm.close();
    throw error;
  }
}

/** What a guest's `cpuid` is to answer: all that KVM supports and that works here. */
export function guestCpuid(kvm: Kvm): readonly CpuidLeaf[] {
  const leaves = kvm.supportedCpuid();
  return hostIsEmulated() ? withoutXsave(leaves) : leaves;
}

function hostIsEmulated(): boolean {
  try {
    return /^model name\s*: QEMU TCG CPU/m.test(fs.readFileSync('/proc/cpuinfo', 'utf8'));
  } catch {
    return false;
  }
}

function checkKvm(kvm: Kvm): void {
  const version = kvm.apiVersion();
  if (version !== KVM_API_VERSION) {
    const message = `KVM's interface is of version ${String(version)}, and not 12`;
    throw new VhostError('ERR_VHOST_UNSUPPORTED', message);
  }
  const missing = REQUIRED.filter(([capability]) => kvm.checkExtension(capability) === 0);
  if (missing.length === 0) return;
  const names = missing.map(([, name]) => name).join(', ');
  throw new VhostError('ERR_VHOST_UNSUPPORTED', `this kernel's KVM lacks ${names}`);
}
