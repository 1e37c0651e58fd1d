import type { ReceiveFilter } from './backend.js';
import { VhostSystemError } from '../errors.js';
import type { Tun } from '../sys/tun.js';
import { TUN_FLT_ALLMULTI } from '../uapi/tun.js';

const EVERYTHING = new Uint8Array(0);

/**
 * Hosts go first: one for which the kernel has no place left lets everything pass.
 *
 * @returns Whether not everything does.
 */
export function applyFilter(tun: Tun, filter: ReceiveFilter | undefined): boolean {
  const { unicast = [], multicast = [] } = filter ?? {};
  const all = multicast === 'all';
  const addresses = [...unicast, ...(all ? [] : multicast)];
  const bytes = addresses.length > 0 ? Buffer.concat(addresses) : EVERYTHING;
  return tun.setTxFilter(bytes, all ? TUN_FLT_ALLMULTI : 0) > 0;
}

/**
 * Takes away the filter that a persistent tap may have kept from a process that was killed.
 *
 * @returns Whether there can be one: a macvtap has none.
 */
export function clearFilter(tun: Tun): boolean {
  try {
    tun.setTxFilter(EVERYTHING);
    return true;
  } catch (error) {
    if (error instanceof VhostSystemError) return false;
    throw error;
  }
}
