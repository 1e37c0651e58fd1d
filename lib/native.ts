/**
 * Finds and loads the addon, and says what it exports. The only file that touches the binary.
 *
 * Every function throws `VhostSystemError` when the system refuses, `TypeError` or `RangeError` when
 * an argument does not fit.
 */
import fs from 'node:fs';
import path from 'node:path';

import bindings from 'bindings';

import { VhostError, VhostSystemError } from './errors.js';

/** One open file; `fd` is -1 once closed. */
export interface NativeDescriptor {
  /** The descriptor's number, -1 once closed. */
  readonly fd: number;
  /** Closes it; a second time does nothing. */
  close(): void;
}

/** One mmap'd range; `buffer` is undefined once closed. */
export interface NativePages {
  readonly buffer: ArrayBuffer | undefined;
  readonly address: bigint;
  memfd(): NativeDescriptor | undefined;
  close(): void;
}

/** A callback on the event loop for as long as it is open. */
export interface NativeWatcher {
  ref(): void;
  unref(): void;
  close(): void;
}

/** Looks at a ring again and again: milliseconds until the next, used index at the last; -1: none. */
export interface NativeSentry {
  rest(): number;
  seen(): number;
  again(seen: number): void;
  pause(): void;
  retire(): void;
  close(): void;
}

/** Parts of a vCPU's state that are one structure of the kernel's. */
export type NativeVcpuState = 'regs' | 'sregs' | 'fpu' | 'lapic' | 'mpState';

/**
 * What a vCPU asks: reads return the number read. -1 is no question: it runs no more; then `address` is
 * the reason (-1: it was stopped), `size` an errno, `value` a detail.
 */
export type NativeVcpuCallback = (
  question: number,
  address: number,
  size: number,
  value: number,
) => number | undefined;

/** What vCPUs may take of an event loop. */
export interface NativeLoopBudget {
  charge(milliseconds: number): void;
  due(): number;
  /** Milliseconds spent, waits, milliseconds waited. */
  statistics(): number[];
}

/** One virtual CPU. */
export interface NativeVcpu {
  get(state: NativeVcpuState): Uint8Array;
  set(state: NativeVcpuState, bytes: Uint8Array): void;
  setCpuid(rows: Uint32Array): void;
  setMsrs(rows: Uint32Array): number;
  setPciConfig(slot: number, bytes: Uint8Array, asked: number, askedEnd: number): void;
  start(callback: NativeVcpuCallback): void;
  stop(): void;
  statistics(): number[];
  getStatsFd(): NativeDescriptor;
  close(): void;
}

/** `RTM_NEWLINK`, decoded; counters are the interface's own (receive = what the host received). */
export interface NativeLink {
  index: number;
  name: string;
  up: boolean;
  mtu: number;
  carrier: boolean;
  /** Empty where there is none. */
  mac: Uint8Array;
  counters: NativeLinkCounters;
  /** Index of the interface below it: of a macvtap, of a veth its peer (which may be in another namespace). */
  lower?: number;
  /** What `ip link add type` calls it; a physical interface has none. */
  kind?: string;
  /** Only of a tap. */
  tap?: { multiQueue: boolean; queueCount?: number };
  /** Only of a macvtap: `MACVLAN_MODE_*`. */
  macvtap?: { mode: number };
}

/** News of an interface: what it is now, or that it is gone. */
export interface NativeLinkEvent extends NativeLink {
  gone?: true;
}

/** `struct rtnl_link_stats64`, as the host sees its interface: our transmit is its receive. */
export interface NativeLinkCounters {
  /** Frames that the host received: those that we transmitted. */
  receivePackets: number;
  /** Their bytes. */
  receiveBytes: number;
  /** Frames from us that the host could not make sense of. */
  receiveErrors: number;
  /** Frames from us that the host dropped. */
  receiveDropped: number;
  /** Frames that the host handed to us. */
  transmitPackets: number;
  /** Their bytes. */
  transmitBytes: number;
  /** Frames for us that failed on their way. */
  transmitErrors: number;
  /** Frames for us that were dropped, as when we did not take them fast enough. */
  transmitDropped: number;
}

type MakeSystemError = (errno: number, syscall: string, request: string, path?: string) => Error;

interface Native {
  configure(makeSystemError: MakeSystemError): void;
  constants(): Record<string, number>;

  descriptorOpen(path: string, writable: boolean): NativeDescriptor;
  descriptorDuplicate(fd: number): NativeDescriptor;

  Pages: {
    new (byteLength: number, shared: boolean, hugePages: boolean): NativePages;
    new (byteLength: number, memfd: NativeDescriptor): NativePages;
  };

  pagesCount(): number;
  pagesReserved(): number;

  clearStrides: (
    target: Uint8Array,
    at: number,
    stride: number,
    length: number,
    count: number,
  ) => void;
  copyToStrides: (
    target: Uint8Array,
    at: number,
    stride: number,
    source: Uint8Array,
    from: number,
    length: number,
    count: number,
  ) => void;

  eventfdCreate(): NativeDescriptor;
  eventfdSignal(eventfd: NativeDescriptor): void;
  eventfdDrain(eventfd: NativeDescriptor): number;
  eventfdWait(milliseconds: number, ...eventfds: NativeDescriptor[]): number;
  Sentry: new (
    avail: Uint16Array,
    availAt: number,
    used: Uint16Array,
    usedAt: number,
    size: number,
    seen: number,
    milliseconds: number,
    callback: (seen: number | undefined) => void,
    backend: NativeDescriptor | undefined,
  ) => NativeSentry;
  /** Of an eventfd with its count; of what `linkEventsOpen` made with its news, null where some are lost. */
  Watcher: new (
    descriptor: NativeDescriptor,
    callback: ((count: number) => void) | ((events: readonly NativeLinkEvent[] | null) => void),
  ) => NativeWatcher;

  kvmOpen(path: string): NativeDescriptor;
  kvmGetApiVersion(kvm: NativeDescriptor): number;
  kvmCheckExtension(kvm: NativeDescriptor, capability: number): number;
  kvmCreateVm(kvm: NativeDescriptor): NativeDescriptor;
  kvmGetSupportedCpuid(kvm: NativeDescriptor): Uint32Array;
  kvmSetTssAddr(vm: NativeDescriptor, address: number): void;
  kvmSetIdentityMapAddr(vm: NativeDescriptor, address: number): void;
  kvmCreateIrqchip(vm: NativeDescriptor): void;
  kvmCreatePit2(vm: NativeDescriptor): void;
  kvmSetUserMemoryRegion(
    vm: NativeDescriptor,
    slot: number,
    guestAddress: bigint,
    byteLength: bigint,
    hostAddress: bigint,
  ): void;
  kvmSetGsiRouting(vm: NativeDescriptor, rows: Uint32Array): void;
  kvmIrqfd(vm: NativeDescriptor, eventfd: NativeDescriptor, gsi: number, deassign: boolean): void;
  kvmIoeventfd(
    vm: NativeDescriptor,
    eventfd: NativeDescriptor,
    address: bigint,
    deassign: boolean,
  ): void;
  kvmIrqLine(vm: NativeDescriptor, gsi: number, level: boolean): void;
  kvmGetStatsFd(vm: NativeDescriptor): NativeDescriptor;
  Vcpu: new (
    kvm: NativeDescriptor,
    vm: NativeDescriptor,
    id: number,
    budget?: NativeLoopBudget,
  ) => NativeVcpu;
  LoopBudget: new (share: number, milliseconds: number) => NativeLoopBudget;

  vhostOpen(path: string): NativeDescriptor;
  vhostSetOwner(vhost: NativeDescriptor): number;
  vhostResetOwner(vhost: NativeDescriptor): void;
  vhostSetForkFromOwner(vhost: NativeDescriptor, mode: number): void;
  vhostGetForkFromOwner(vhost: NativeDescriptor): number;
  vhostGetFeatures(vhost: NativeDescriptor): bigint;
  vhostSetFeatures(vhost: NativeDescriptor, features: bigint): void;
  vhostGetFeaturesArray(vhost: NativeDescriptor): bigint;
  vhostSetFeaturesArray(vhost: NativeDescriptor, features: bigint): void;
  vhostGetBackendFeatures(vhost: NativeDescriptor): bigint;
  vhostSetBackendFeatures(vhost: NativeDescriptor, features: bigint): void;
  vhostSetMemTable(
    vhost: NativeDescriptor,
    rows: readonly (readonly [bigint, bigint, bigint])[],
  ): void;
  vhostSetLogBase(vhost: NativeDescriptor, address: bigint, byteLength: bigint): void;
  vhostSetLogFd(vhost: NativeDescriptor, eventfd?: NativeDescriptor): void;
  vhostSetVringNum(vhost: NativeDescriptor, index: number, size: number): void;
  vhostSetVringBase(vhost: NativeDescriptor, index: number, base: number): void;
  vhostSetVringEndian(vhost: NativeDescriptor, index: number, endian: number): void;
  vhostGetVringEndian(vhost: NativeDescriptor, index: number): number;
  vhostSetVringBusyloopTimeout(vhost: NativeDescriptor, index: number, microseconds: number): void;
  vhostGetVringBusyloopTimeout(vhost: NativeDescriptor, index: number): number;
  vhostGetVringBase(vhost: NativeDescriptor, index: number): number;
  vhostSetVringAddr(
    vhost: NativeDescriptor,
    index: number,
    flags: number,
    desc: bigint,
    used: bigint,
    avail: bigint,
    log: bigint,
  ): void;
  vhostSetVringKick(vhost: NativeDescriptor, index: number, eventfd?: NativeDescriptor): void;
  vhostSetVringCall(vhost: NativeDescriptor, index: number, eventfd?: NativeDescriptor): void;
  vhostSetVringErr(vhost: NativeDescriptor, index: number, eventfd?: NativeDescriptor): void;
  vhostNetSetBackend(vhost: NativeDescriptor, index: number, backend?: NativeDescriptor): void;

  workerGetAffinity(vhost: NativeDescriptor): number[];
  workerSetAffinity(vhost: NativeDescriptor, cpus: readonly number[]): void;
  workerGetScheduling(vhost: NativeDescriptor): [policy: number, priority: number, nice: number];
  workerSetScheduling(
    vhost: NativeDescriptor,
    policy: number,
    priority: number,
    nice: number,
  ): void;

  tunOpen(netns?: NativeDescriptor): NativeDescriptor;
  tunSetIff(tun: NativeDescriptor, name: string, flags: number): string;
  tunGetIff(tun: NativeDescriptor): [name: string, flags: number];
  tunGetNetns(tun: NativeDescriptor): NativeDescriptor;
  tunGetFeatures(tun: NativeDescriptor): number;
  tunSetVnetHdrSize(tun: NativeDescriptor, size: number): void;
  tunGetVnetHdrSize(tun: NativeDescriptor): number;
  tunSetOffload(tun: NativeDescriptor, flags: number): void;
  tunSetSendBuffer(tun: NativeDescriptor, byteLength: number): void;
  tunGetSendBuffer(tun: NativeDescriptor): number;
  tunSetPersist(tun: NativeDescriptor, persist: number): void;
  tunSetOwner(tun: NativeDescriptor, uid: number): void;
  tunSetGroup(tun: NativeDescriptor, gid: number): void;
  tunSetCarrier(tun: NativeDescriptor, carrier: number): void;
  tunSetQueue(tun: NativeDescriptor, attached: boolean): void;
  tunSetSteering(tun: NativeDescriptor, program?: NativeDescriptor): void;
  tunSetFilter(tun: NativeDescriptor, program?: Uint8Array): void;
  tunSetTxFilter(tun: NativeDescriptor, flags: number, addresses: Uint8Array): number;

  bpfLoadSocketFilter(instructions: Uint8Array): NativeDescriptor;

  macvtapOpen(index: number, netns?: NativeDescriptor): NativeDescriptor;

  packetOpen(netns?: NativeDescriptor): NativeDescriptor;
  packetBind(packet: NativeDescriptor, index: number): void;
  packetGetIndex(packet: NativeDescriptor): number;
  packetSetVnetHdr(packet: NativeDescriptor, value: number): void;
  packetSetVnetHdrSize(packet: NativeDescriptor, size: number): void;
  packetGetVnetHdrSize(packet: NativeDescriptor): number;
  packetSetIgnoreOutgoing(packet: NativeDescriptor, value: number): void;
  packetSetPromiscuous(packet: NativeDescriptor, index: number): void;
  packetSetBuffer(packet: NativeDescriptor, receive: boolean, byteLength: number): number;
  packetTakeError(packet: NativeDescriptor): number;
  packetTakeStatistics(packet: NativeDescriptor): [frames: number, dropped: number];

  linkEventsOpen(index: number, netns?: NativeDescriptor): NativeDescriptor;

  netlinkOpen(netns?: NativeDescriptor): NativeDescriptor;
  linkGet(netlink: NativeDescriptor, nameOrIndex: string | number): NativeLink;
  linkSet(
    netlink: NativeDescriptor,
    index: number,
    up: boolean | undefined,
    mtu: number | undefined,
    mac: Uint8Array | undefined,
  ): void;
  linkAddMacvtap(netlink: NativeDescriptor, name: string, lower: number, mode: number): void;
  linkDelete(netlink: NativeDescriptor, index: number): void;
  addressAdd(
    netlink: NativeDescriptor,
    index: number,
    address: Uint8Array,
    prefixLength: number,
  ): void;
}

const FILE = 'vhost_net.node';
const ROOT = bindings.getRoot(__filename);
const OVERRIDE = process.env['VHOST_NET_ADDON'];
const PLATFORM = `${process.platform}-${process.arch}`;

/**
 * Where the addon may be. What was compiled on this machine goes before what the package carries: it
 * is there because the other did not fit, or because somebody works on it. `build/Debug` is left out
 * on purpose: a sanitizer build that somebody left there must not be picked up. `VHOST_NET_ADDON`
 * names such a build when it is wanted, and then no other will do.
 */
function places(): string[] {
  if (OVERRIDE !== undefined) return [path.resolve(OVERRIDE)];
  return [path.join(ROOT, 'build/Release', FILE), path.join(ROOT, 'prebuilds', PLATFORM, FILE)];
}

/** One at a time, because `bindings` gives up at the first file that is there and does not load. */
function load(): Native {
  const failures: LoadFailure[] = [];
  for (const place of places()) {
    try {
      return bindings({ bindings: FILE, module_root: ROOT, try: [[place]] }) as Native;
    } catch (error) {
      failures.push(diagnose(place, error));
    }
  }
  throw loadError(failures);
}

interface LoadFailure {
  readonly kind: 'absent' | 'foreign' | 'other';
  /** The file, and what became of it. */
  readonly text: string;
}

/** How a dynamic linker says that a library was made for another processor or C library. */
const FOREIGN =
  /version `|wrong ELF class|object file: No such file|loading shared library|Error relocating/;

function diagnose(place: string, error: unknown): LoadFailure {
  if (!fs.existsSync(place)) return { kind: 'absent', text: `${place}: no such file` };
  const reason = error instanceof Error ? error.message : String(error);
  const text = reason.startsWith(place) ? reason : `${place}: ${reason}`;
  return { kind: FOREIGN.test(reason) ? 'foreign' : 'other', text };
}

const COMPILE =
  'Compile it on this machine: npm rebuild vhost-net (where npm blocks install scripts: ' +
  'npm approve-scripts vhost-net && npm rebuild vhost-net). ' +
  'That needs python3, make and a C++17 compiler.';

/** What to do about it, by the worst that was met. */
const REMEDIES = {
  absent: `The package carries no addon for this platform, and none was compiled. ${COMPILE}`,
  foreign: `The addon was made for another processor or another C library. ${COMPILE}`,
  other:
    'The addon is there, but cannot be loaded: see that it is readable, complete and not on a file ' +
    'system mounted with noexec, or install the package again.',
};

function loadError(failures: readonly LoadFailure[]): VhostError {
  const has = (kind: LoadFailure['kind']) => failures.some((failure) => failure.kind === kind);
  const kind = has('other') ? 'other' : has('foreign') ? 'foreign' : 'absent';
  const remedy = OVERRIDE === undefined ? REMEDIES[kind] : 'VHOST_NET_ADDON names that file.';
  return new VhostError(
    'ERR_VHOST_ADDON_LOAD',
    [
      `the native addon of vhost-net could not be loaded on ${PLATFORM}, Node ${process.version}`,
      ...failures.map(({ text }) => `  tried ${text}`),
      remedy,
    ].join('\n'),
  );
}

/** The addon of this environment. */
export const native: Native = load();

native.configure(
  (errno, syscall, request, place) => new VhostSystemError(errno, syscall, request, place),
);
