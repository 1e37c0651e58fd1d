import type { GuestKind } from './guest-sides.js';
import type { Kind } from './sides.js';

/** One question that the benchmark answers. */
export interface Scenario {
  readonly name: string;
  /** Of the rate, of which more is better where it is one of something a second. */
  readonly unit: string;
  readonly kind: Kind | GuestKind;
  /** Bytes of each frame. */
  readonly length: number;
  /** Frames offered each second, where frames are offered; undefined: as many as can be. */
  readonly offered?: number;
  readonly sides: readonly string[];
  /**
   * Over a macvtap, with the module's own zero-copy: frames that nobody copies before they are gone. Default:
   * over taps.
   */
  readonly zeroCopy?: boolean;
  /** Queue pairs of the tap, each with its own ring and vhost worker. Default: 1. */
  readonly queues?: number;
}

/** The side that everything else is compared with, and that runs twice in every round. */
export const REFERENCE = 'vhost-net';

const COPYING = ['vhost-net', 'c-ring', 'dpdk', 'c-tap', 'node-tap'];
const TRANSMITTING = [...COPYING, 'vhost-net-packed', 'vhost-net-inplace', 'c-ring-inplace'];
const LONG = [...COPYING, 'vhost-net-inplace', 'c-ring-inplace'];
const RECEIVING = [...COPYING, 'vhost-net-polling'];
const PASSING_ON = [...RECEIVING, 'bridge'];

/** Each with the machine type, and the form of the kernel, that might be the fastest. */
const BOOTS = [
  'vhost-net',
  'vhost-net-vmlinux',
  'qemu-vhost-on',
  'qemu-vmlinux',
  'qemu-q35',
  'qemu-microvm',
  'qemu-microvm-vmlinux',
];
const GUESTS = ['vhost-net', 'qemu-vhost-on', 'qemu-vhost-off'];

const FRAMES = 'frames/s';
const MEMORY = "MiB besides the guest's own";
const EXITS = 'exits from the guest in 1,000 round trips';

/** A TCP frame with 65,535 bytes of IP, the longest there is. */
const LONGEST_GSO = 65549;

/** As long as a TCP makes them, which has whole segments of 1,448 bytes: an interface takes less than 65,536. */
const LONGEST_SENT = 54 + 45 * 1448;

export const SCENARIOS: readonly Scenario[] = [
  { name: 'tx-64', unit: FRAMES, kind: 'tx', length: 64, sides: TRANSMITTING },
  { name: 'tx-512', unit: FRAMES, kind: 'tx', length: 512, sides: TRANSMITTING },
  { name: 'tx-1514', unit: FRAMES, kind: 'tx', length: 1514, sides: TRANSMITTING },
  { name: 'tx-gso', unit: FRAMES, kind: 'gso', length: LONGEST_GSO, sides: LONG },
  { name: 'rx-64', unit: FRAMES, kind: 'rx', length: 64, sides: RECEIVING },
  { name: 'rx-64-50k', unit: FRAMES, kind: 'rx', length: 64, offered: 50_000, sides: RECEIVING },
  { name: 'rx-1514', unit: FRAMES, kind: 'rx', length: 1514, sides: RECEIVING },
  { name: 'forward-64', unit: FRAMES, kind: 'forward', length: 64, sides: PASSING_ON },
  { name: 'forward-tcp', unit: 'Mbit/s', kind: 'tcp', length: 1514, sides: PASSING_ON },
  {
    name: 'queues-2',
    unit: FRAMES,
    kind: 'tx',
    length: 64,
    queues: 2,
    sides: ['vhost-net', 'dpdk'],
  },
  { name: 'pingpong', unit: 'round trips/s', kind: 'echo', length: 98, sides: PASSING_ON },
  // Behind all that is to run with the module as it was.
  {
    name: 'tx-gso-zerocopy',
    unit: FRAMES,
    kind: 'gso',
    length: LONGEST_SENT,
    zeroCopy: true,
    sides: LONG.filter((name) => name !== 'dpdk'),
  },
  { name: 'vm-tcp-out', unit: 'Mbit/s', kind: 'guest-tcp-out', length: 1514, sides: GUESTS },
  { name: 'vm-tcp-in', unit: 'Mbit/s', kind: 'guest-tcp-in', length: 1514, sides: GUESTS },
  { name: 'vm-ping', unit: 'round trips/s', kind: 'guest-echo', length: 98, sides: GUESTS },
  { name: 'vm-boot', unit: 'ms to user space', kind: 'guest-boot', length: 0, sides: BOOTS },
  { name: 'vm-memory', unit: MEMORY, kind: 'guest-memory', length: 98, sides: GUESTS },
  { name: 'vm-exits', unit: EXITS, kind: 'guest-exits', length: 98, sides: GUESTS },
];
