import os from 'node:os';

import { codeOf, reason } from './check.js';
import type { Finding } from './check.js';
import { nodeFailure } from './node.js';
import { readFolder, readText } from './proc.js';
import { Tun } from '../sys/tun.js';
import * as flags from '../uapi/tun.js';

/** What this kernel's taps can do. */
export interface TapCapabilities {
  /** Names of the `IFF_*` flags that a tap may be made with, as far as this package uses them. */
  readonly flags: readonly string[];
  /** Names of the `TUN_F_*` offloads that a tap takes; undefined when no tap could be made to try. */
  readonly offloads: readonly string[] | undefined;
}

/** What was found of taps. */
export interface TapFindings {
  readonly node: Finding;
  readonly tap?: Finding;
  readonly capabilities?: TapCapabilities;
}

const NODE = { path: '/dev/net/tun', module: 'tun', misc: 'tun', everybody: true };

const FLAGS = ['IFF_TUN', 'IFF_TAP', 'IFF_NO_PI', 'IFF_VNET_HDR', 'IFF_MULTI_QUEUE'] as const;
const USED = flags.IFF_TAP | flags.IFF_NO_PI | flags.IFF_VNET_HDR;

/** Each needs those before it. */
const OFFLOADS = [
  ['TUN_F_CSUM'],
  ['TUN_F_TSO4'],
  ['TUN_F_TSO6'],
  ['TUN_F_TSO_ECN'],
  ['TUN_F_UFO'],
  ['TUN_F_USO4', 'TUN_F_USO6'],
  ['TUN_F_UDP_TUNNEL_GSO'],
  ['TUN_F_UDP_TUNNEL_GSO_CSUM'],
] as const;

/** Opens the control device, and makes a tap for a moment if it may. */
export function probeTap(): TapFindings {
  let tun: Tun;
  try {
    tun = new Tun();
  } catch (error) {
    return { node: nodeFailure(NODE, error) };
  }
  try {
    return probeOpen(tun);
  } catch (error) {
    return { node: { ok: false, detail: `no tun behind it: ${reason(error)}` } };
  } finally {
    tun.close();
  }
}

function probeOpen(tun: Tun): TapFindings {
  const known = tun.getFeatures();
  const names = FLAGS.filter((name) => (known & flags[name]) !== 0);
  const tap = makeTap(tun);
  const offloads = tap.ok && tap.made ? probeOffloads(tun) : undefined;
  return {
    node: { ok: true, detail: 'opened to read and write' },
    tap,
    capabilities: { flags: names, offloads },
  };
}

function makeTap(tun: Tun): Finding & { made: boolean } {
  try {
    tun.setIff('vnprobe%d', USED | flags.IFF_TUN_EXCL);
    return { ok: true, made: true, detail: 'one was made, and is gone again' };
  } catch (error) {
    return codeOf(error) === 'EPERM'
      ? { ...findTap(error), made: false }
      : { ok: false, made: false, detail: reason(error) };
  }
}

/** Without the right to make one: is there one that this user may have, and that is up? */
function findTap(error: unknown): Finding {
  let busy: string | undefined;
  for (const name of readFolder('/sys/class/net').filter(isTapThatIsUp)) {
    const refusal = attach(name);
    if (refusal === '') return { ok: true, detail: `${name} is there for this user, and is up` };
    if (refusal === 'EBUSY') busy = name;
  }
  const detail =
    busy === undefined ? reason(error) : `${busy} is open already, and there is no other`;
  return { ok: false, detail, remedy: makeFor(process.getuid?.() ?? 0) };
}

/** A name that is free: one that is taken is another user's, or in use. */
function makeFor(user: number): string {
  const taken = readFolder('/sys/class/net');
  const free = Array.from({ length: taken.length + 1 }, (_, i) => `vn${String(i)}`);
  const name = free.find((one) => !taken.includes(one)) ?? '';
  return `ip tuntap add ${name} mode tap user ${String(user)} && ip link set ${name} up`;
}

function isTapThatIsUp(name: string): boolean {
  const read = (file: string) => Number(readText(`/sys/class/net/${name}/${file}`) ?? NaN);
  const tunFlags = read('tun_flags');
  const tap = (tunFlags & flags.IFF_TAP) !== 0 && (tunFlags & flags.IFF_MULTI_QUEUE) === 0;
  return tap && (read('flags') & 1) === 1; // IFF_UP
}

/** Why this user can't have a tap; empty when there is no reason. Tried: kernels differ in whose a tap is. */
function attach(name: string): string {
  const tun = new Tun();
  try {
    tun.setIff(name, USED);
    return '';
  } catch (error) {
    return codeOf(error);
  } finally {
    tun.close();
  }
}

function probeOffloads(tun: Tun): string[] {
  const accepted: string[] = [];
  let set = 0;
  for (const names of OFFLOADS) {
    const more = names.reduce((all, name) => all | flags[name], set);
    try {
      tun.setOffload(more);
    } catch {
      continue; // This kernel's taps lack it; what needs it is refused as well.
    }
    set = more;
    accepted.push(...names);
  }
  return accepted;
}

/** The system as uname(2) has it. */
export const kernelRelease = (): string => `${os.type()} ${os.release()}`;
