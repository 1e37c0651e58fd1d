import assert from 'node:assert/strict';
import { once } from 'node:events';

import { BOOT } from '../support/guest.js';
import { TestNetwork } from '../support/network.js';
import { NetworkedGuest } from '../support/networked-guest.js';
import { describeWith } from '../support/requirements.js';
import type { GuestRingStatistics } from '#lib/vmm/guest-pair';

/** Times that each vector goes to another processor. */
const MOVES = Number(process.env['VHOST_VM_MOVES'] ?? 50);
const PAIRS = Number(process.env['VHOST_VM_QUEUE_PAIRS'] ?? 2);
/** A processor of the guest's for each queue pair; Linux sends from the queue of the one that it is on. */
const CPUS = Array.from({ length: PAIRS }, (_, cpu) => cpu);
const PINGS = 50;

const mask = (cpu: number): string => (1 << cpu).toString(16);

describeWith(['kvm', 'vhost', 'tun', 'root'], `a card with ${String(PAIRS)} queue pairs`, () => {
  let network: TestNetwork;
  let networked: NetworkedGuest;

  before(async function () {
    this.timeout(BOOT);
    network = new TestNetwork();
    networked = await NetworkedGuest.boot(network, { queuePairs: PAIRS }, { cpus: CPUS.length });
  });

  after(async () => {
    await networked.guest.stop();
    network.close();
  });

  const inGuest = (command: string, seconds?: number) => networked.guest.sh(command, seconds);

  /** Chains of a ring that the worker has given back so far; 16 bits. */
  function used(ring: 'receive' | 'transmit'): number[] {
    const [card] = networked.guest.machine.statistics().net;
    return (card?.device.pairs ?? []).map((pair) => {
      const statistics: GuestRingStatistics = pair[ring];
      return statistics.used;
    });
  }

  /** From each processor, each of which must be answered. */
  async function pingFromEach(): Promise<void> {
    for (const cpu of CPUS) {
      const ping = `taskset ${mask(cpu)} ping -q -A -c ${String(PINGS)} ${networked.host}`;
      const said = await inGuest(ping);
      assert.match(
        said,
        new RegExp(` ${String(PINGS)} packets received`),
        `processor ${String(cpu)}`,
      );
    }
  }

  it('has all at work: a processor sends from its own, and is answered there', async () => {
    assert.equal(networked.guest.machine.statistics().net[0]?.device.activePairs, PAIRS);
    const before = { receive: used('receive'), transmit: used('transmit') };
    await pingFromEach();
    // A tap learns where a flow is to be answered after it has passed the frame on, and all pings are one
    // flow: the first answer goes where the flow was before (`tun_xdp_one()` of `drivers/net/tun.c`).
    const least = { receive: PINGS - 1, transmit: PINGS };
    for (const ring of ['receive', 'transmit'] as const) {
      const counts = used(ring).map(
        (count, pair) => (count - (before[ring][pair] ?? NaN)) & 0xffff,
      );
      assert.equal(counts.length, PAIRS);
      for (const count of counts) assert.ok(count >= least[ring], `${ring}: ${counts.join(', ')}`);
    }
  }).timeout(BOOT);

  it('goes back to one pair, and to all again, when the guest wants it', async () => {
    for (const count of [1, PAIRS]) {
      await inGuest(`ethtool -L eth0 combined ${String(count)}`);
      assert.equal(networked.guest.machine.statistics().net[0]?.device.activePairs, count);
      await pingFromEach();
    }
  }).timeout(BOOT);

  it(`loses no interrupt while each vector goes ${String(MOVES)} times to another processor, under traffic`, async () => {
    const pings = network.start('ping', '-q', '-i', '0.005', '-W', '1', networked.address);
    const ended = once(pings, 'close');
    const lines = 'grep virtio0 /proc/interrupts | cut -d: -f1';
    const move = 'for i in $irqs; do echo $m > /proc/irq/$i/smp_affinity; done; usleep 2000';
    const loop = `while [ $n -lt ${String(MOVES)} ]; do m=$(printf %x $((1 << n % ${String(PAIRS)}))); ${move}; n=$((n+1)); done`;
    await inGuest(`irqs=$(${lines}); n=0; ${loop}`, 60 + MOVES);
    pings.kill('SIGINT');
    await ended;
    await pingFromEach();
    await networked.ping(PINGS, '-i', '0.01');
    assert.equal(networked.guest.machine.statistics().net[0]?.device.faults, 0);
  }).timeout(BOOT + MOVES * 1000);

  it('has taken interrupts on each processor after that', async () => {
    const rows = (await inGuest('grep virtio0-input /proc/interrupts')).split('\n');
    assert.equal(rows.length, PAIRS);
    for (const row of rows) {
      const counts = row
        .trim()
        .split(/\s+/)
        .slice(1, 1 + CPUS.length)
        .map(Number);
      assert.ok(
        counts.every((count) => count > 0),
        row,
      );
    }
  }).timeout(BOOT);
});
