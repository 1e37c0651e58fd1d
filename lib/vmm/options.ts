import { ramRanges } from './guest-ram.js';
import type { Backend } from '../backend/backend.js';
import type { BackendOptions } from '../backend/open.js';
import type { OvsTapOptions } from '../backend/ovs-options.js';
import { misuse } from '../errors.js';
import { parseMac } from '../sys/link.js';

/** One network device of a machine. */
export interface MachineNet {
  /**
   * What stands behind vhost: how to make it, or one that is open. The machine closes it either way, also
   * when it does not boot; not when an option does not fit.
   */
  backend: BackendOptions | OvsTapOptions | Backend;
  /** The guest's Ethernet address. Default: a random one. */
  mac?: string;
  /** The most that the guest may use; each needs a queue of the backend. Default: 1. */
  queuePairs?: number;
  /**
   * The most descriptors of each ring, a power of 2 in 256..32768; a guest may use fewer. More hold more
   * frames while somebody is late, and cost the guest a buffer of a page or less for each of the receive
   * ring. With fewer than 256 a frame of 64 KiB may find no room in a Linux guest's receive ring, and
   * vhost waits for that room for ever. Default: 1024.
   */
  queueSize?: number;
  /** Bytes, Ethernet header not counted, that the guest is told. Default: the interface's. */
  mtu?: number;
}

/** Where the guest's serial line leads. */
export interface MachineConsole {
  /** What the guest reads. It is not ended, and not read from any more when the machine ends. */
  input?: NodeJS.ReadableStream;
  /**
   * What the guest writes. It is not ended. What it does not take waits, 1 MiB at the most; the rest is
   * lost, and counted.
   */
  output?: NodeJS.WritableStream;
}

/** How to boot a machine. */
export interface MachineOptions {
  /** Path of a Linux kernel of x86-64: a bzImage such as a distribution's, or a vmlinux. */
  kernel: string;
  /** Path of an initramfs. */
  initrd?: string;
  /** What the kernel is told. Default: {@link DEFAULT_COMMAND_LINE}. */
  commandLine?: string;
  /** From 32 on. Default: 256. */
  memoryMiB?: number;
  /** Processors, 1 to 8. Default: 1. */
  cpus?: number;
  /** Default: none. */
  net?: readonly MachineNet[];
  /** Default: what the guest writes goes to nobody but the event `output`. */
  console?: MachineConsole;
  /** What a reset by the guest means: a new boot, or the end. Default: `end`. */
  onReset?: 'reboot' | 'end';
  /**
   * The share of the event loop's time that the guest's accesses may take, 0.01 to 1. A guest that takes
   * more waits; a second's worth may be saved up. With 1 it never waits. Default: 0.5.
   */
  eventLoopShare?: number;
  /** Aborting stops the machine. */
  signal?: AbortSignal;
}

/** Messages of errors only, a restart instead of a panic that nobody sees, a reset that needs no ACPI. */
export const DEFAULT_COMMAND_LINE = 'console=ttyS0 quiet reboot=k panic=-1';

/** A network device with every default filled in. */
export interface CheckedNet {
  readonly backend: MachineNet['backend'];
  /** Whether what stands behind takes complete frames alone. */
  readonly completeOnly?: boolean;
  /** 6 bytes. */
  readonly mac: Uint8Array;
  readonly queuePairs: number;
  readonly queueSize: number;
  readonly mtu: number | undefined;
}

/** Options with every default filled in. */
export interface CheckedMachineOptions {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly commandLine: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly net: readonly CheckedNet[];
  readonly console: MachineConsole;
  readonly onReset: 'reboot' | 'end';
  readonly eventLoopShare: number;
  readonly signal: AbortSignal | undefined;
}

/** What the tests boot; beyond 255 another kind of local APIC would be needed. */
const MOST_CPUS = 8;

const KNOWN = [
  ...['kernel', 'initrd', 'commandLine', 'memoryMiB', 'cpus'],
  ...['net', 'console', 'onReset', 'eventLoopShare', 'signal'],
];
const KNOWN_NET = ['backend', 'mac', 'queuePairs', 'queueSize', 'mtu'];

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function checkNames(options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw misuse.unknown(name, known);
  }
}

function checkString(option: string, value: unknown): void {
  if (typeof value !== 'string') throw misuse.type(option, 'a string', value);
}

/** @throws {TypeError} or `RangeError`, naming the option that does not fit. */
export function checkMachineOptions(options: MachineOptions): CheckedMachineOptions {
  if (!isObject(options)) throw misuse.type('options', 'an object', options);
  checkNames(options, KNOWN);
  const { kernel, initrd, signal, net = [], console = {}, onReset = 'end' } = options;
  const { commandLine = DEFAULT_COMMAND_LINE, memoryMiB = 256, cpus = 1 } = options;
  const { eventLoopShare = 0.5 } = options;
  checkString('kernel', kernel);
  if (initrd !== undefined) checkString('initrd', initrd);
  checkString('commandLine', commandLine);
  ramRanges(memoryMiB);
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > MOST_CPUS) {
    throw misuse.range('cpus', `an integer in 1..${String(MOST_CPUS)}`, cpus);
  }
  if (!Array.isArray(net)) throw misuse.type('net', 'an array', net);
  checkConsole(console);
  if (!['reboot', 'end'].includes(onReset)) {
    throw misuse.range('onReset', "'reboot' or 'end'", onReset);
  }
  checkShare(eventLoopShare);
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw misuse.type('signal', 'an AbortSignal', signal);
  }
  const checked = { kernel, initrd, commandLine, memoryMiB, cpus, console, onReset, signal };
  return { ...checked, eventLoopShare, net: (net as MachineNet[]).map(checkNet) };
}

function checkConsole(console: MachineConsole): void {
  if (!isObject(console)) throw misuse.type('console', 'an object', console);
  checkNames(console, ['input', 'output']);
  const { input, output } = console;
  if (!isStream(input, ['on', 'off', 'pause'])) {
    throw misuse.type('console.input', 'a readable stream', input);
  }
  if (!isStream(output, ['write', 'once', 'off'])) {
    throw misuse.type('console.output', 'a writable stream', output);
  }
}

function isStream(stream: unknown, methods: readonly string[]): boolean {
  const has = (method: string) => typeof (stream as Record<string, unknown>)[method] === 'function';
  return stream === undefined || (isObject(stream) && methods.every(has));
}

function checkShare(share: number): void {
  if (typeof share !== 'number') throw misuse.type('eventLoopShare', 'a number', share);
  if (!(share >= 0.01 && share <= 1)) throw misuse.range('eventLoopShare', '0.01 to 1', share);
}

function checkNet(net: MachineNet): CheckedNet {
  if (!isObject(net)) throw misuse.type('net', 'an array of objects', net);
  checkNames(net, KNOWN_NET);
  const { backend, mac, queuePairs = 1, queueSize = 1024, mtu } = net;
  if (!isObject(backend)) throw misuse.type('backend', "an object such as { tap: 'vn0' }", backend);
  if (!Number.isInteger(queuePairs) || queuePairs < 1) {
    throw misuse.range('queuePairs', 'an integer from 1 on', queuePairs);
  }
  checkQueueSize(queueSize);
  if (mtu !== undefined && (!Number.isInteger(mtu) || mtu < 68 || mtu > 65535)) {
    throw misuse.range('mtu', 'an integer in 68..65535', mtu);
  }
  return { backend, mac: checkMac(mac), queuePairs, queueSize, mtu };
}

/** The most is what a split virtqueue can have, and vhost takes. */
function checkQueueSize(size: number): void {
  const inRange = Number.isInteger(size) && size >= 256 && size <= 32768;
  if (inRange && Number.isInteger(Math.log2(size))) return;
  throw misuse.range('queueSize', 'a power of 2 in 256..32768', size);
}

/** A random one is of those that nobody was given; nothing rests on that nobody guesses it. */
function checkMac(mac: string | undefined): Uint8Array {
  return mac === undefined
    ? Uint8Array.of(2, ...Array.from({ length: 5 }, () => Math.random() * 256))
    : checkHostMac(mac);
}

/** The 6 bytes of an address that a host can have. @throws {RangeError} There is none such. */
export function checkHostMac(mac: string): Uint8Array {
  const bytes = typeof mac === 'string' ? parseMac(mac) : undefined;
  if (!bytes || ((bytes[0] ?? 1) & 1) !== 0) {
    throw misuse.range('mac', 'six hexadecimal bytes such as 02:00:00:00:00:02, of no group', mac);
  }
  return bytes;
}
