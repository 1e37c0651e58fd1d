import fs from 'node:fs';
import path from 'node:path';

import { NOBODY } from './network.js';
import type { Cannot } from './sides.js';
import { cacheFolder } from '#lib/cache-folder';

/**
 * What a guest is looked at for: TCP it sends or takes, echoes, its boot, what leaves it meanwhile, and
 * what its program has in memory besides.
 */
export type GuestKind =
  'guest-tcp-out' | 'guest-tcp-in' | 'guest-echo' | 'guest-boot' | 'guest-exits' | 'guest-memory';

const GUEST_KERNEL = '6.1-cloud';
export const MEMORY_MIB = 128;
const COMMAND = path.join(__dirname, '../../../dist/cli/main.js');
const QEMU = 'qemu-system-x86_64';

export function isGuestKind(kind: string): kind is GuestKind {
  return kind.startsWith('guest-');
}

/** The kernel as distributions pack it, or taken out of that. */
export type KernelFile = 'vmlinuz' | 'vmlinux';

/** What every side boots, which `scripts/guests` made. */
function boot(
  kind: GuestKind,
  file: KernelFile,
): { kernel: string; initrd: string; append: string } {
  const folder = cacheFolder();
  const job = kind.startsWith('guest-tcp') ? 'bench=tcp' : 'bench=echo';
  return {
    kernel: path.join(folder, `kernel-${GUEST_KERNEL}`, file),
    initrd: path.join(folder, `bench-${GUEST_KERNEL}`),
    append: `console=ttyS0 quiet reboot=k panic=-1 ${job}`,
  };
}

/** Why there can be no guest at all; undefined: there can. */
function whyNoGuest(kind: GuestKind, file: KernelFile): string | undefined {
  try {
    fs.closeSync(fs.openSync('/dev/kvm', 'r+'));
  } catch (error) {
    return `/dev/kvm is not usable: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`;
  }
  const { kernel, initrd } = boot(kind, file);
  const missing = [kernel, initrd].find((file) => !fs.existsSync(file));
  return missing === undefined ? undefined : `no ${missing}: scripts/bench/run makes it`;
}

/** This package's command, as anybody would run it. */
export function machine(
  kind: GuestKind,
  tap: string,
  file: KernelFile = 'vmlinuz',
): readonly string[] | Cannot {
  const cannot = whyNoGuest(kind, file);
  if (cannot !== undefined) return { cannot };
  const { kernel, initrd, append } = boot(kind, file);
  const files = ['--kernel', kernel, '--initrd', initrd, '--append', append];
  const rest = ['--memory', String(MEMORY_MIB), '--tap', tap, '--mac', NOBODY];
  return [process.execPath, COMMAND, 'vm', ...files, ...rest];
}

function isInstalled(program: string): boolean {
  const folders = (process.env['PATH'] ?? '').split(':');
  return folders.some((folder) => fs.existsSync(path.join(folder, program)));
}

/** How QEMU is run; what is not said here is as it is by default. */
export interface QemuOptions {
  readonly vhost?: 'on' | 'off';
  /** `-M`. */
  readonly machine?: string;
  readonly file?: KernelFile;
}

/** QEMU with the same guest on the same tap. */
export function qemu(
  kind: GuestKind,
  tap: string,
  { vhost = 'on', machine: model = 'pc', file = 'vmlinuz' }: QemuOptions,
): readonly string[] | Cannot {
  const cannot = isInstalled(QEMU) ? whyNoGuest(kind, file) : `${QEMU} is not installed`;
  if (cannot !== undefined) return { cannot };
  const { kernel, initrd, append } = boot(kind, file);
  const computer = ['-enable-kvm', '-M', model, '-cpu', 'host', '-m', String(MEMORY_MIB)];
  const nothing = ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'];
  const files = ['-kernel', kernel, '-initrd', initrd, '-append', append, '-serial', 'stdio'];
  const host = `tap,id=net0,ifname=${tap},script=no,downscript=no,vhost=${vhost}`;
  const card = `virtio-net-pci,netdev=net0,mac=${NOBODY},disable-legacy=on`;
  return [QEMU, ...computer, ...nothing, ...files, '-netdev', host, '-device', card];
}
