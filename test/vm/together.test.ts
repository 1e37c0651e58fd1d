import assert from 'node:assert/strict';
import { once } from 'node:events';

import { generate, stopGenerating } from '../support/guest-generator.js';
import { Guest } from '../support/guest.js';
import { TestNetwork } from '../support/network.js';
import { OpenVSwitch } from '../support/open-vswitch.js';
import { PatternFrames } from '../support/pattern.js';
import { processState, residentBytes } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';
import { parseMac } from '#lib/sys/link';
import { DEFAULT_COMMAND_LINE } from '#lib/vmm/options';

const SECONDS = Number(process.env['VHOST_VM_LOAD_SECONDS'] ?? 15);
/** Milliseconds for two boots and the end of the load, with a hypervisor below that is emulated. */
const BOOTS = 300_000;
/** How much more memory is no growth. */
const SLACK = 32 << 20;

const GUEST_MACS = ['02:00:00:00:01:01', '02:00:00:00:01:02'] as const;
const PORT_MACS = ['02:00:00:00:02:01', '02:00:00:00:02:02'] as const;

/** What was counted where something is plugged into the bridge. */
interface End {
  /** Frames that it sent, and that the bridge got of them; those between are in a counter. */
  readonly sent: number;
  readonly got: number;
  readonly gone: number;
  /** Frames that the bridge had for it: handed over, and dropped because they came too fast. */
  readonly handed: number;
  readonly dropped: number;
  readonly received: number;
}

function since(before: readonly End[], now: readonly End[]): End[] {
  const subtract = (a: End, b: End | undefined) =>
    Object.fromEntries(
      Object.entries(a).map(([name, value]) => [
        name,
        Number(value) - (b?.[name as keyof End] ?? 0),
      ]),
    ) as unknown as End;
  return now.map((end, i) => subtract(end, before[i]));
}

/** port 0 → guest 0 → port 1 → guest 1 → port 0, each as fast as it can. */
describeWith(
  ['kvm', 'vhost', 'tun', 'root', 'ovs'],
  'two machines and two ports of one process',
  () => {
    let network: TestNetwork;
    let ovs: OpenVSwitch;
    const guests: Guest[] = [];
    const ports: Port[] = [];
    beforeEach(async () => {
      network = new TestNetwork();
      ovs = await OpenVSwitch.start(network);
      ovs.addBridge('br0');
      network.ip('link', 'set', 'br0', 'up');
    });
    afterEach(async () => {
      await down();
      await ovs.close();
      network.close();
    });

    async function down(): Promise<void> {
      for (const guest of guests.splice(0)) await guest.stop();
      for (const port of ports.splice(0)) await port.close();
    }

    const plugged = (tap: string) => ({
      ...{ tap, netns: network.name },
      ovs: { bridge: 'br0', database: ovs.database },
    });

    async function up(): Promise<void> {
      for (const tap of ['vp1', 'vp2']) {
        const port = await openPort({ backend: plugged(tap) });
        port.on('receive', () => undefined); // counted by the port
        ports.push(port);
      }
      for (const [i, mac] of GUEST_MACS.entries()) {
        const net = [{ backend: plugged(`vm${String(i + 1)}`), mac }];
        const commandLine = `${DEFAULT_COMMAND_LINE} ipv6.disable=1`;
        const guest = await Guest.boot('6.1-cloud', { net, commandLine });
        guests.push(guest);
        // A question that nobody answers, and that is asked once, tells the bridge where the guest is.
        await guest.sh('echo 1 > /proc/sys/net/ipv4/neigh/eth0/mcast_solicit');
        await guest.sh(`ip addr add 10.78.0.${String(i + 1)}/24 dev eth0; ip link set eth0 up`);
        await guest.sh('ping -c 1 -W 1 10.78.0.9 || true');
      }
      for (const [i, port] of ports.entries()) await learn(port, i);
    }

    /** Sends a frame to a guest, and waits until it has come in: then the bridge knows the port, too. */
    async function learn(port: Port, i: number): Promise<void> {
      const guest = guests[i];
      assert.ok(guest);
      const { received } = await guestEnd(guest);
      port.send(patternsOf(i).make(0));
      while ((await guestEnd(guest)).received === received);
    }

    const bytesOf = (mac = '') => [...(parseMac(mac) ?? [])];
    /** From a port to its guest. */
    const patternsOf = (i: number) =>
      new PatternFrames(bytesOf(GUEST_MACS[i]), bytesOf(PORT_MACS[i]));

    /** Sends from a port for as long as it is not told to end. */
    function pump(port: Port, i: number): () => Promise<void> {
      const patterns = patternsOf(i);
      let sequence = 0;
      const send = () => {
        while (port.send(patterns.make(sequence))) sequence++;
      };
      port.on('drain', send);
      send();
      return async () => {
        port.off('drain', send);
        await port.drained();
      };
    }

    function portEnd(port: Port): End {
      const { transmit, receive, link } = port.statistics();
      const { receivePackets, receiveDropped, transmitPackets, transmitDropped } = link.counters;
      return {
        ...{ sent: transmit.frames, got: receivePackets, gone: receiveDropped },
        ...{ handed: transmitPackets, dropped: transmitDropped, received: receive.frames },
      };
    }

    async function guestEnd(guest: Guest): Promise<End> {
      const files = ['tx', 'rx'].map((way) => `/sys/class/net/eth0/statistics/${way}_packets`);
      const said = await guest.sh(`cat ${files.join(' ')}`);
      const [sent = NaN, received = NaN] = said.split('\n').map(Number);
      const { link, device } = guest.machine.card(0).statistics();
      assert.ok(link);
      const { receivePackets, receiveDropped, transmitPackets, transmitDropped } = link.counters;
      return {
        ...{ sent, got: receivePackets, gone: receiveDropped + device.unsent },
        ...{ handed: transmitPackets, dropped: transmitDropped, received },
      };
    }

    /** All four, in the order in which each sends to the next, once nothing is on its way. */
    async function atRest(): Promise<End[]> {
      let before = '';
      for (;;) {
        const ends: End[] = [];
        for (const [i, port] of ports.entries()) {
          const guest = guests[i];
          assert.ok(guest);
          ends.push(portEnd(port), await guestEnd(guest));
        }
        const now = JSON.stringify(ends);
        if (now === before) return ends;
        before = now;
      }
    }

    /** Every frame of the load is somewhere: at each step as many come out as went in, or are counted. */
    function checkAccounts(ends: readonly End[], lost: number): void {
      const all = JSON.stringify(ends);
      let onTheWay = 0;
      for (const [i, end] of ends.entries()) {
        const next = ends[(i + 1) % ends.length];
        assert.ok(next);
        assert.ok(next.received > 100, all);
        assert.equal(end.sent, end.got + end.gone, `sent, and got by the bridge: ${all}`);
        assert.equal(next.handed, next.received, `handed over, and received: ${all}`);
        onTheWay += end.got - next.handed - next.dropped;
      }
      assert.equal(onTheWay, lost, `through the bridge, and lost there: ${all}`);
    }

    it(`lose nothing beyond the counters, and leave nothing, in ${String(SECONDS)} s of load`, async () => {
      const state = processState();
      await up();
      const before = await atRest();
      const lostBefore = ovs.lost();
      const stops = ports.map((port, i) => pump(port, i));
      for (const [i, guest] of guests.entries()) await generate(guest, PORT_MACS[1 - i] ?? '');
      const span = () => once(AbortSignal.timeout(SECONDS * 500), 'abort');
      await span();
      const warm = residentBytes();
      await span();
      const grown = residentBytes() - warm;
      for (const stop of stops) await stop();
      for (const guest of guests) await stopGenerating(guest);
      checkAccounts(since(before, await atRest()), ovs.lost() - lostBefore);
      assert.ok(grown < SLACK, `${String(grown)} bytes more`);
      await down();
      assert.deepEqual(ovs.ports('br0'), []);
      assert.deepEqual(processState(), state);
    }).timeout(BOOTS + SECONDS * 1000);
  },
);
