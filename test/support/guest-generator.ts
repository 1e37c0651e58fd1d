import type { Guest } from './guest.js';

/** The guest's packet generator; the kernel's documentation names its files. */
const GENERATOR = '/proc/net/pktgen';

/** The guest sends as many frames as it can to an address, and says nothing of it, until it is told to stop. */
export async function generate(guest: Guest, destination: string): Promise<void> {
  const settings = ['count 0', 'pkt_size 60', 'dst 198.18.0.2', `dst_mac ${destination}`];
  const set = settings.map((line) => `echo ${line} > ${GENERATOR}/eth0`);
  const add = `echo add_device eth0 > ${GENERATOR}/kpktgend_0`;
  await guest.sh([add, ...set].join('; '));
  await guest.sh(`(echo start > ${GENERATOR}/pgctrl) &`);
}

export async function stopGenerating(guest: Guest): Promise<void> {
  const remove = `echo rem_device_all > ${GENERATOR}/kpktgend_0`;
  await guest.sh(`echo stop > ${GENERATOR}/pgctrl; wait; ${remove}`, 120);
}
