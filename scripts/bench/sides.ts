import fs from 'node:fs';
import path from 'node:path';

import { machine, qemu } from './guest-sides.js';
import type { GuestKind, QemuOptions } from './guest-sides.js';

/** What is done with frames: sent (also as 64 KiB for the kernel to cut), received, passed on, answered. */
export type Kind = 'tx' | 'gso' | 'rx' | 'forward' | 'tcp' | 'echo';

/** What a side is told. */
export interface Task {
  readonly kind: Kind;
  /** Bytes of each frame. */
  readonly length: number;
  /** What it attaches to: two where it passes frames on. Names of taps, or of a macvtap with `macvtap:` before it. */
  readonly taps: readonly string[];
  /** Queue pairs of each. */
  readonly queues: number;
}

/** A side can't do this, and why. */
export interface Cannot {
  readonly cannot: string;
}

/** One way to move frames, run as a program of its own. */
export interface Side {
  readonly name: string;
  /**
   * The program and its arguments; it goes on until it is ended. Undefined: the kernel does it, and
   * there is none.
   */
  command(task: Task): readonly string[] | undefined | Cannot;
  /** The same with a guest on a tap; undefined: it has no guests. */
  guest?(kind: GuestKind, tap: string): readonly string[] | Cannot;
  /** Says in its output that it is at work. Default: a line `ready`. */
  readonly ready?: RegExp;
  /** Its program is compiled while it runs. */
  readonly engine?: boolean;
}

const SCRIPTS = path.join(__dirname, 'sides');
const NATIVE = path.join(__dirname, '../../bench');
const TESTPMD = '/usr/bin/dpdk-testpmd';

function node(script: string, ...args: string[]): string[] {
  // Flags for the engine are those that this program was given.
  return [process.execPath, ...process.execArgv, path.join(SCRIPTS, script), ...args];
}

function native(program: string, ...args: string[]): string[] {
  return [path.join(NATIVE, program), ...args];
}

type How = 'copy' | 'packed' | 'inplace' | 'polling';

function port(how: How, { kind, length, taps, queues }: Task): string[] {
  if (queues > 1) return node('port-queues.js', String(queues), String(length), ...taps);
  return node('port.js', kind, how, String(length), ...taps);
}

function cRing(how: How, { kind, length, taps }: Task): string[] {
  return native('c-ring', kind, how, String(length), ...taps);
}

function cTap({ kind, length, taps }: Task): string[] {
  return native('c-tap', kind, String(length), ...taps);
}

function nodeTap({ kind, length, taps }: Task): string[] {
  const header = kind === 'gso' ? 'header' : 'plain';
  return native('with-tap', header, ...taps, '--', ...node('node-tap.js', kind, String(length)));
}

const TESTPMD_MODES: Readonly<Record<Kind, readonly string[] | undefined>> = {
  tx: ['--forward-mode=txonly'],
  gso: undefined,
  rx: ['--forward-mode=rxonly'],
  forward: ['--forward-mode=io'],
  tcp: ['--forward-mode=io'],
  echo: ['--forward-mode=icmpecho'],
};

/** The main core sleeps between statistics, on the worker's CPU; the core that drives is the driver's. */
function testpmd({ kind, length, taps, queues }: Task): readonly string[] | Cannot {
  const mode = TESTPMD_MODES[kind];
  if (!mode) return { cannot: 'testpmd sends no GSO frames by itself' };
  if (!fs.existsSync(TESTPMD))
    return { cannot: 'dpdk-testpmd is not installed: scripts/setup --bench installs it' };
  const devices = taps.flatMap((tap, i) => [
    '--vdev',
    `virtio_user${String(i)},path=/dev/vhost-net,queues=${String(queues)},queue_size=256,iface=${tap}`,
  ]);
  const eal = ['--no-huge', '-m', '256', '--no-pci', '-l', '0,1', '--no-telemetry'];
  const frames = kind === 'tx' ? [`--txpkts=${String(length)}`] : [];
  const each = queues > 1 ? [`--rxq=${String(queues)}`, `--txq=${String(queues)}`] : [];
  const rest = [
    '--no-mlockall',
    '--auto-start',
    '--stats-period',
    '1000',
    '--total-num-mbufs=8192',
  ];
  // What it says would otherwise stay in its buffer for ever.
  return ['stdbuf', '-oL', TESTPMD, ...eal, ...devices, '--', ...mode, ...frames, ...each, ...rest];
}

function bridge({ kind }: Task): undefined | Cannot {
  const passesOn = kind === 'forward' || kind === 'tcp' || kind === 'echo';
  return passesOn ? undefined : { cannot: 'a bridge neither makes nor takes frames' };
}

const NO_FRAMES = { cannot: 'it is there for guests alone' };

function qemuSide(name: string, options: QemuOptions): Side {
  return {
    name,
    command: () => NO_FRAMES,
    guest: (kind, tap) => qemu(kind, tap, options),
  };
}

/** Every side, in the order in which they are printed. */
export const SIDES: readonly Side[] = [
  { name: 'vhost-net', command: (task) => port('copy', task), guest: machine, engine: true },
  { name: 'vhost-net-packed', command: (task) => port('packed', task), engine: true },
  { name: 'vhost-net-inplace', command: (task) => port('inplace', task), engine: true },
  { name: 'vhost-net-polling', command: (task) => port('polling', task), engine: true },
  { name: 'c-ring', command: (task) => cRing('copy', task) },
  { name: 'c-ring-inplace', command: (task) => cRing('inplace', task) },
  { name: 'dpdk', command: testpmd, ready: /NIC statistics|packet forwarding - ports/ },
  { name: 'c-tap', command: cTap },
  { name: 'node-tap', command: nodeTap, engine: true },
  { name: 'bridge', command: bridge },
  {
    name: 'vhost-net-vmlinux',
    command: () => NO_FRAMES,
    guest: (kind, tap) => machine(kind, tap, 'vmlinux'),
  },
  qemuSide('qemu-vhost-on', { vhost: 'on' }),
  qemuSide('qemu-vhost-off', { vhost: 'off' }),
  qemuSide('qemu-vmlinux', { file: 'vmlinux' }),
  qemuSide('qemu-q35', { machine: 'q35' }),
  qemuSide('qemu-microvm', { machine: 'microvm,pcie=on' }),
  qemuSide('qemu-microvm-vmlinux', { machine: 'microvm,pcie=on', file: 'vmlinux' }),
];
