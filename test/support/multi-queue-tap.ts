import type { Backend, BackendAgreement, BackendLink } from '#lib/backend/backend';
import { Tap } from '#lib/backend/tap';
import { Links, formatMac, openNetns } from '#lib/sys/link';
import { Tun } from '#lib/sys/tun';
import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_VNET_HDR } from '#lib/uapi/tun';

const FLAGS = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;

/** A tap with as many queues as are asked for, and nothing else that a backend can do. */
export class MultiQueueTap implements Backend {
  readonly name: string;
  readonly features: bigint;
  queues: Tun[] = [];

  readonly #netns: string;

  constructor(name: string, netns: string) {
    this.name = name;
    this.#netns = netns;
    // What any tap can, this one can.
    const probe = Tap.open({ tap: `${name}p`, netns });
    this.features = probe.features;
    probe.close();
    this.setQueueCount(1);
  }

  get closed(): boolean {
    return this.queues.length === 0;
  }

  setQueueCount(count: number): void {
    for (const queue of this.queues.splice(count)) queue.close();
    while (this.queues.length < count) {
      const netns = openNetns(this.#netns);
      const tun = new Tun(netns);
      netns.close();
      tun.setIff(this.name, FLAGS);
      tun.setSendBuffer(0x7fffffff);
      this.queues.push(tun);
    }
  }

  agree({ headerSize }: BackendAgreement): void {
    this.queues[0]?.setVnetHdrSize(headerSize);
  }

  link(): BackendLink {
    const netns = openNetns(this.#netns);
    const links = new Links(netns);
    netns.close();
    const { index, up, carrier, mtu, mac, counters } = links.get(this.name);
    links.close();
    return { index, name: this.name, up, carrier, mtu, mac: formatMac(mac), counters };
  }

  lost(): boolean {
    return false;
  }

  reopen(): void {
    throw new Error('it is never lost');
  }

  close(): void {
    this.setQueueCount(0);
  }
}
