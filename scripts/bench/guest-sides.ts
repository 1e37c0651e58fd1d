import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { NOBODY } from './network.js';
import type { Cannot } from './sides.js';

/** What a guest is looked at for: TCP it sends or takes, echoes, its boot, and what leaves it meanwhile. */
export type GuestKind =
  'guest-tcp-out' | 'guest-tcp-in' | 'guest-echo' | 'guest-boot' | 'guest-exits';

const GUEST_KERNEL = '6.1-cloud';
const MEMORY_MIB = '128';
const COMMAND = path.join(__dirname, '../../../dist/cli/main.js');
const QEMU = 'qemu-system-x86_64';

export function isGuestKind(kind: string): kind is GuestKind {
  return kind.startsWith('guest-');
}

function cacheFolder(): string {
  const { VHOST_NET_CACHE, XDG_CACHE_HOME } = process.env;
  return (
    VHOST_NET_CACHE ?? path.join(XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'vhost-net')
  );
}

/** What every side boots, which `scripts/guests` made. */
function boot(kind: GuestKind): { kernel: string; initrd: string; append: string } {
  const folder = cacheFolder();
  const job = kind.startsWith('guest-tcp') ? 'bench=tcp' : 'bench=echo';
  return {
    kernel: path.join(folder, `kernel-${GUEST_KERNEL}`, 'vmlinuz'),
    initrd: path.join(folder, `bench-${GUEST_KERNEL}`),
    append: `console=ttyS0 quiet reboot=k panic=-1 ${job}`,
  };
}

/** Why there can be no guest at all; undefined: there can. */
function whyNoGuest(kind: GuestKind): string | undefined {
  try {
    fs.closeSync(fs.openSync('/dev/kvm', 'r+'));
  } catch (error) {
    return `/dev/kvm is not usable: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`;
  }
  const { kernel, initrd } = boot(kind);
  const missing = [kernel, initrd].find((file) => !fs.existsSync(file));
  return missing === undefined ? undefined : `no ${missing}: scripts/bench/run makes it`;
}

/** This package's command, as anybody would run it. */
export function machine(kind: GuestKind, tap: string): readonly string[] | Cannot {
  const cannot = whyNoGuest(kind);
  if (cannot !== undefined) return { cannot };
  const { kernel, initrd, append } = boot(kind);
  const files = ['--kernel', kernel, '--initrd', initrd, '--append', append];
  const rest = ['--memory', MEMORY_MIB, '--tap', tap, '--mac', NOBODY];
  return [process.execPath, COMMAND, 'vm', ...files, ...rest];
}

function isInstalled(program: string): boolean {
  const folders = (process.env['PATH'] ?? '').split(':');
  return folders.some((folder) => fs.existsSync(path.join(folder, program)));
}

/** QEMU with the same guest on the same tap; what it has by default stays. */
export function qemu(
  kind: GuestKind,
  tap: string,
  vhost: 'on' | 'off',
): readonly string[] | Cannot {
  const cannot = isInstalled(QEMU) ? whyNoGuest(kind) : `${QEMU} is not installed`;
  if (cannot !== undefined) return { cannot };
  const { kernel, initrd, append } = boot(kind);
  const computer = ['-enable-kvm', '-M', 'pc', '-cpu', 'host', '-m', MEMORY_MIB];
  const nothing = ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'];
  const files = ['-kernel', kernel, '-initrd', initrd, '-append', append, '-serial', 'stdio'];
  const host = `tap,id=net0,ifname=${tap},script=no,downscript=no,vhost=${vhost}`;
  const card = `virtio-net-pci,netdev=net0,mac=${NOBODY},disable-legacy=on`;
  return [QEMU, ...computer, ...nothing, ...files, '-netdev', host, '-device', card];
}
