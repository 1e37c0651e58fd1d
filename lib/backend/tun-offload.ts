import os from 'node:os';

import type { Tun } from '../sys/tun.js';
import {
  TUN_F_CSUM,
  TUN_F_TSO4,
  TUN_F_TSO6,
  TUN_F_TSO_ECN,
  TUN_F_UDP_TUNNEL_GSO,
  TUN_F_UDP_TUNNEL_GSO_CSUM,
  TUN_F_USO4,
  TUN_F_USO6,
} from '../uapi/tun.js';
import {
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO,
  VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO,
  VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM,
  VIRTIO_NET_F_HOST_USO,
} from '../uapi/virtio-net.js';
import { bit, has } from '../uapi/virtio.js';

/** Which tap flag lets the kernel hand us what a feature bit allows. */
const ACCEPT: readonly (readonly [feature: number, flag: number])[] = [
  [VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM],
  [VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4],
  [VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6],
  [VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN],
  [VIRTIO_NET_F_GUEST_USO4, TUN_F_USO4],
  [VIRTIO_NET_F_GUEST_USO6, TUN_F_USO6],
  [VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO, TUN_F_UDP_TUNNEL_GSO],
  [VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM, TUN_F_UDP_TUNNEL_GSO_CSUM],
];

/** What any tap with IFF_VNET_HDR takes from us without being told. */
const SEND =
  bit(VIRTIO_NET_F_CSUM) |
  bit(VIRTIO_NET_F_HOST_TSO4) |
  bit(VIRTIO_NET_F_HOST_TSO6) |
  bit(VIRTIO_NET_F_HOST_ECN);

/** What came to the kernel together with what it lets us receive. */
const SEND_SINCE: readonly (readonly [flag: number, feature: number])[] = [
  [TUN_F_USO4, VIRTIO_NET_F_HOST_USO],
  [TUN_F_UDP_TUNNEL_GSO, VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO],
  [TUN_F_UDP_TUNNEL_GSO_CSUM, VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM],
];

const TCP = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
const UDP = TCP | TUN_F_USO4 | TUN_F_USO6;
const TUNNEL = UDP | TUN_F_UDP_TUNNEL_GSO | TUN_F_UDP_TUNNEL_GSO_CSUM;

/** From the newest kernel's set to the least: a tap refuses a whole set for one unknown bit. */
const SETS: readonly number[] = [TUNNEL, UDP, TCP, TUN_F_CSUM];

/** The `TUN_F_*` flags of a set of feature bits. */
export function offloadFlags(features: bigint): number {
  return ACCEPT.reduce(
    (flags, [feature, flag]) => (has(features, feature) ? flags | flag : flags),
    0,
  );
}

function accepts(tun: Tun, flags: number): boolean {
  try {
    tun.setOffload(flags);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return false;
    throw error;
  }
}

/**
 * Finds out what a tap can do by trying, and leaves it with every offload off.
 *
 * @returns `VIRTIO_NET_F_*` bits, of both directions.
 */
export function probeOffloads(tun: Tun): bigint {
  const best = SETS.find((flags) => accepts(tun, flags)) ?? 0;
  tun.setOffload(0);
  return offered(best);
}

/**
 * What an interface can do that others use already: to try would change what they agreed on. So it is
 * what this kernel is known for.
 *
 * @param tunnels  Whether it may be one that takes long frames inside a UDP tunnel.
 * @returns `VIRTIO_NET_F_*` bits, of both directions.
 */
export function usualOffloads(tunnels: boolean, release = os.release()): bigint {
  const [major = 0, minor = 0] = release.split('.').map(Number);
  const since = (newer: number) => major > 6 || (major === 6 && minor >= newer);
  if (tunnels && since(17)) return offered(TUNNEL);
  return offered(since(2) ? UDP : TCP);
}

function offered(best: number): bigint {
  const received = ACCEPT.filter(([, flag]) => (best & flag) !== 0);
  const both = received.reduce((features, [feature]) => features | bit(feature), SEND);
  return SEND_SINCE.reduce(
    (features, [flag, feature]) => ((best & flag) === 0 ? features : features | bit(feature)),
    both,
  );
}
