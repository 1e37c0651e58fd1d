import { execFile, execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The interface that traffic comes from, and the one it goes to where there are two. */
export const NEAR = 'bench0';
export const FAR = 'bench1';

/** What macvtaps are above: it takes frames of any length as they are, and nobody gets them. */
export const LINK = 'benchlink';

export const NEAR_ADDRESS = '10.9.0.1';
export const FAR_ADDRESS = '10.9.0.2';

/** Whom the far address belongs to when a program, or a guest, answers for it. */
export const NOBODY = '02:00:00:00:00:02';

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** The interfaces of one run, and the namespace of the far end. All of it goes with {@link remove}. */
export class Network {
  readonly #farNamespace = `bench${String(process.pid)}`;
  readonly #near: string;
  /** What it made and has to remove. */
  readonly #made: string[] = [];
  #isFarApart = false;

  /** @param near  The interface that traffic comes from. */
  constructor(near = NEAR) {
    this.#near = near;
  }

  /** Taps that wait for a program, up from the beginning; with several queues if more than one is wanted. */
  addTaps(queues: number, ...names: string[]): void {
    const flags = queues > 1 ? ['multi_queue'] : [];
    for (const name of names) {
      ip('tuntap', 'add', 'dev', name, 'mode', 'tap', ...flags);
      this.#made.push(name);
      ip('link', 'set', name, 'up');
    }
  }

  /** A macvtap that waits for a program, above {@link LINK}, with which it goes. */
  addMacvtap(name: string): void {
    spawnSync('modprobe', ['dummy', 'numdummies=0']); // it would make one in the machine's own namespace
    ip('link', 'add', LINK, 'type', 'dummy');
    this.#made.push(LINK);
    ip('link', 'set', LINK, 'up');
    // Its device is called after its index, of which each network namespace has its own, and /dev is shared by all.
    const index = String(1_000_000 + process.pid);
    ip('link', 'add', name, 'index', index, 'link', LINK, 'type', 'macvtap', 'mode', 'bridge');
    ip('link', 'set', name, 'up');
  }

  /** The kernel's own way between the two ends: two veth pairs on a bridge. */
  addBridge(): void {
    ip('link', 'add', 'bridge0', 'type', 'bridge', 'stp_state', '0', 'mcast_snooping', '0');
    this.#made.push('bridge0');
    for (const name of [NEAR, FAR]) {
      ip('link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}peer`);
      this.#made.push(name);
      ip('link', 'set', `${name}peer`, 'master', 'bridge0', 'up');
      ip('link', 'set', name, 'up');
    }
    ip('link', 'set', 'bridge0', 'up');
  }

  /** The near end gets an address; a program answers for the far one. */
  addressNear(): void {
    ip('address', 'add', `${NEAR_ADDRESS}/24`, 'dev', this.#near);
    ip('neighbour', 'replace', FAR_ADDRESS, 'lladdr', NOBODY, 'dev', this.#near);
  }

  /** Another network's near end may have the address. */
  unaddressNear(): void {
    ip('address', 'flush', 'dev', this.#near);
  }

  /** Both ends get addresses, the far one in a namespace of its own. */
  addressBoth(): void {
    ip('netns', 'add', this.#farNamespace);
    this.#isFarApart = true;
    const disable = 'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6';
    execFileSync('ip', ['netns', 'exec', this.#farNamespace, 'sh', '-c', disable]);
    ip('address', 'add', `${NEAR_ADDRESS}/24`, 'dev', NEAR);
    ip('link', 'set', FAR, 'netns', this.#farNamespace);
    ip('-n', this.#farNamespace, 'address', 'add', `${FAR_ADDRESS}/24`, 'dev', FAR);
    ip('-n', this.#farNamespace, 'link', 'set', FAR, 'up');
  }

  /** A command at the far end. */
  farCommand(...command: string[]): string[] {
    return ['ip', 'netns', 'exec', this.#farNamespace, ...command];
  }

  remove(): void {
    // Interfaces go with their namespace; those that are still here go by name.
    if (this.#isFarApart) ip('netns', 'del', this.#farNamespace);
    const left = this.#made.filter((name) => fs.existsSync(`/proc/sys/net/ipv4/conf/${name}`));
    for (const name of left) ip('link', 'del', name);
  }
}

/** Router solicitations and the like would mix with what is counted. */
export function disableIpv6(): void {
  fs.writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
}

/** A command's output. */
export async function output(program: string, ...args: string[]): Promise<string> {
  return (await run(program, args, { maxBuffer: 1 << 24 })).stdout;
}
