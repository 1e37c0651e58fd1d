import assert from 'node:assert/strict';

import { Guest } from './guest.js';
import { generate, stopGenerating } from './guest-generator.js';
import type { TestNetwork } from './network.js';
import type { MachineStatistics } from '#lib/vmm/machine-statistics';
import type { MachineNet, MachineOptions } from '#lib/vmm/options';

const MAC = '02:00:00:00:00:02';
const HOST = '10.77.0.1';
const GUEST = '10.77.0.2';
const TAP = 'vm0';
const MTU = 1400;

/** An address that nobody has: the host drops frames to it as soon as it has looked at them. */
const NOBODY = '02:00:00:00:00:99';

/** What both ends of the wire have counted. */
export interface WireCounts {
  /** Frames that the guest's driver knows to be sent, and what became of them: taken, or dropped and counted. */
  sent: number;
  taken: number;
  /** Frames that the host's interface has handed over, and that the guest's driver received. */
  handed: number;
  received: number;
  /** Echo requests of the host's, and those that the guest has seen; its replies, and those that came. */
  requests: number;
  seen: number;
  replies: number;
  answers: number;
}

/** What was counted since. */
export function countsSince(before: WireCounts, now: WireCounts): WireCounts {
  const counts = { ...now };
  for (const name of Object.keys(now) as (keyof WireCounts)[]) counts[name] -= before[name];
  return counts;
}

/** What `/proc/net/snmp` has of ICMP, by name. */
function icmp(text: string): Record<string, number> {
  const [names = [], values = []] = [...text.matchAll(/^Icmp: (.*)$/gm)].map(([, line = '']) =>
    line.split(' '),
  );
  return Object.fromEntries(names.map((name, i) => [name, Number(values[i])]));
}

/** A guest with a network card, and the namespace with the other end of it. */
export class NetworkedGuest {
  readonly mac = MAC;
  readonly host = HOST;
  readonly address = GUEST;
  readonly tap = TAP;
  readonly mtu = MTU;
  readonly network: TestNetwork;
  readonly guest: Guest;

  private constructor(network: TestNetwork, guest: Guest) {
    this.network = network;
    this.guest = guest;
  }

  /** Boots Debian's cloud kernel, and gives the guest its address. */
  static async boot(
    network: TestNetwork,
    card: Partial<MachineNet> = {},
    machine: Partial<MachineOptions> = {},
  ): Promise<NetworkedGuest> {
    const backend = { tap: TAP, netns: network.name, addresses: [`${HOST}/24`], mtu: MTU };
    const net = [{ backend, mac: MAC, ...card }];
    const guest = await Guest.boot('6.1-cloud', { ...machine, net });
    const networked = new NetworkedGuest(network, guest);
    await networked.up();
    return networked;
  }

  /** Gives the guest its address, again after its driver was taken off. */
  async up(): Promise<void> {
    await this.guest.sh(`ip addr add ${GUEST}/24 dev eth0; ip link set eth0 up`);
  }

  /** So many pings from the host, each of which must be answered. */
  async ping(count: number, ...options: string[]): Promise<void> {
    const all = ['-q', '-c', String(count), '-W', '5', ...options, GUEST];
    const said = await this.network.run('ping', ...all);
    assert.match(said, new RegExp(`^${String(count)} packets.* ${String(count)} received`, 'm'));
  }

  /** The guest sends as many frames as it can, and says nothing of it, until it is told to stop. */
  async generate(): Promise<void> {
    await generate(this.guest, NOBODY);
  }

  async stopGenerating(): Promise<void> {
    await stopGenerating(this.guest);
  }

  /** What was counted once the guest has done with its console: pings pass, and nothing is asked. */
  async atRest(): Promise<MachineStatistics> {
    for (;;) {
      const before = this.guest.machine.statistics();
      await this.ping(20, '-i', '0.01');
      if (this.guest.machine.statistics().calls === before.calls) return before;
    }
  }

  /** From now on each end knows the other's address, and need not ask while nothing passes. */
  async pinNeighbours(): Promise<void> {
    const { link } = this.guest.machine.card(0).statistics();
    await this.guest.sh(`arp -s ${HOST} ${String(link?.mac)}`);
    this.network.ip('neigh', 'replace', GUEST, 'lladdr', MAC, 'dev', TAP);
  }

  /** What was counted while nothing was on its way: the host's part is the same before and after the guest's. */
  async counts(): Promise<WireCounts> {
    for (;;) {
      const host = this.#hostCounts();
      const guest = await this.#guestCounts();
      if (JSON.stringify(this.#hostCounts()) === JSON.stringify(host)) return { ...host, ...guest };
    }
  }

  #hostCounts(): Pick<WireCounts, 'taken' | 'handed' | 'requests' | 'answers'> {
    const { link, device } = this.guest.machine.card(0).statistics();
    assert.ok(link);
    const { receivePackets, receiveDropped, receiveErrors, transmitPackets } = link.counters;
    const { OutEchos = NaN, InEchoReps = NaN } = icmp(this.network.sh('cat /proc/net/snmp'));
    return {
      taken: receivePackets + receiveDropped + receiveErrors + device.unsent,
      handed: transmitPackets,
      requests: OutEchos,
      answers: InEchoReps,
    };
  }

  async #guestCounts(): Promise<Pick<WireCounts, 'sent' | 'received' | 'seen' | 'replies'>> {
    const files =
      '/sys/class/net/eth0/statistics/tx_packets /sys/class/net/eth0/statistics/rx_packets';
    const text = await this.guest.sh(`cat ${files} /proc/net/snmp`);
    const [sent, received] = text.split('\n').map(Number);
    const { InEchos = NaN, OutEchoReps = NaN } = icmp(text);
    return { sent: sent ?? NaN, received: received ?? NaN, seen: InEchos, replies: OutEchoReps };
  }

  /** Frames of the guest's that the host's interface has counted. */
  frames(statistics = this.guest.machine.statistics()): number {
    const [card] = statistics.net;
    return card?.link?.counters.receivePackets ?? 0;
  }
}
