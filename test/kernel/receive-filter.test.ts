import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import fs from 'node:fs';

import { GUEST_MAC, GuestNet } from '../support/guest-net.js';
import { TestNetwork } from '../support/network.js';
import { describeWith } from '../support/requirements.js';
import type { ReceiveFilter } from '#lib/backend/backend';
import { openBackend } from '#lib/backend/open';
import { Tap } from '#lib/backend/tap';
import type { IoctlMessage } from '#lib/observe';
import { formatMac, openNetns, parseMac } from '#lib/sys/link';
import { Tun } from '#lib/sys/tun';
import { IFF_NO_PI, IFF_TAP, IFF_VNET_HDR, TUN_FLT_ALLMULTI } from '#lib/uapi/tun';
import * as net from '#lib/uapi/virtio-net';
import { bit, has } from '#lib/uapi/virtio';

const OWN = formatMac(GUEST_MAC);
const OTHER = '02:00:00:00:00:03';
const BROADCAST = 'ff:ff:ff:ff:ff:ff';
/** The 6 bits of which the kernel keeps a hash differ: 57 and 46. */
const GROUP = '01:00:5e:00:00:05';
const OTHER_GROUP = '01:00:5e:00:00:06';
const ALL = [OTHER, BROADCAST, GROUP, OTHER_GROUP, OWN];

/** Before a frame, as a tap has it before an agreement. */
const HEADER_BYTES = 10;

const bytes = (mac: string) => parseMac(mac) ?? new Uint8Array(0);
const filter = (unicast: string[], multicast: string[] | 'all'): ReceiveFilter => ({
  unicast: unicast.map(bytes),
  multicast: multicast === 'all' ? 'all' : multicast.map(bytes),
});
const destination = (frame: Uint8Array) => formatMac(frame.subarray(0, 6));
const host = (number: number) => `02:00:00:00:01:${number.toString(16).padStart(2, '0')}`;

/** The host sends a datagram to each address. */
function send(network: TestNetwork, macs: readonly string[] = ALL): void {
  const addresses = macs.map((_, i) => `10.9.0.${String(10 + i)}`);
  addresses.forEach((address, i) => {
    network.ip('neigh', 'replace', address, 'lladdr', String(macs[i]), 'dev', 'vn0');
  });
  network.exec('bash', '-c', addresses.map((to) => `echo > /dev/udp/${to}/9`).join('; '));
}

/** Where the frames went that a tap has for us; each is taken. */
function destinations(tap: Tap): string[] {
  const found: string[] = [];
  const frame = Buffer.alloc(2048);
  const { fd } = tap.queues[0]?.descriptor ?? { fd: -1 };
  try {
    while (fs.readSync(fd, frame) > 0) {
      found.push(destination(frame.subarray(HEADER_BYTES)));
    }
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN');
  }
  return found;
}

describeWith(['tun', 'root'], 'the receive filter of a tap', () => {
  let network: TestNetwork;

  beforeEach(() => {
    network = new TestNetwork();
  });
  afterEach(() => {
    network.close();
  });

  const open = (options = {}) =>
    Tap.open({ tap: 'vn0', netns: network.name, addresses: ['10.9.0.1/24'], ...options });

  /** What comes of what the host sends. */
  function received(tap: Tap, macs?: readonly string[]): string[] {
    send(network, macs);
    return destinations(tap);
  }

  it('is none at first, and again when it is taken away', () => {
    using tap = open();
    assert.deepEqual(received(tap), ALL);
    tap.setReceiveFilter?.(filter([OWN], []));
    assert.deepEqual(received(tap), [OWN]);
    tap.setReceiveFilter?.(undefined);
    assert.deepEqual(received(tap), ALL);
  });

  it('lets hosts and groups through that were named, or every group, and counts the rest', () => {
    using tap = open();
    const { transmitDropped } = tap.link().counters;
    tap.setReceiveFilter?.(filter([OWN], [BROADCAST, GROUP]));
    assert.deepEqual(received(tap), [BROADCAST, GROUP, OWN]);
    assert.equal(tap.link().counters.transmitDropped, transmitDropped + 2);
    tap.setReceiveFilter?.(filter([OWN], 'all'));
    assert.deepEqual(received(tap), [BROADCAST, GROUP, OTHER_GROUP, OWN]);
    assert.equal(tap.link().counters.transmitDropped, transmitDropped + 3);
  });

  it('never keeps a frame away that was asked for, however many addresses there are', () => {
    using tap = open();
    const hosts = Array.from({ length: 8 }, (_, i) => host(i));
    assert.equal(tap.setReceiveFilter?.(filter(hosts, [BROADCAST, GROUP])), true);
    assert.deepEqual(received(tap, [...hosts, OTHER]), hosts, 'eight hosts are told apart');
    assert.deepEqual(received(tap), [BROADCAST, GROUP], 'groups behind them as well');
    assert.equal(tap.setReceiveFilter(filter([...hosts, OWN], [BROADCAST])), false);
    assert.deepEqual(received(tap), ALL, 'with a ninth everything comes');
  });

  it('is told to whoever observes ioctls', () => {
    using tap = open();
    const told: unknown[] = [];
    const hear = (message: unknown) => {
      const { request, arguments: given, result } = message as IoctlMessage;
      if (request === 'TUNSETTXFILTER') told.push([given, result]);
    };
    subscribe('vhost-net:ioctl', hear);
    tap.setReceiveFilter?.(filter([OWN], [BROADCAST]));
    tap.setReceiveFilter?.(filter([OWN], 'all'));
    tap.setReceiveFilter?.(undefined);
    unsubscribe('vhost-net:ioctl', hear);
    assert.deepEqual(told, [
      [{ addresses: 2, flags: 0 }, 2],
      [{ addresses: 1, flags: TUN_FLT_ALLMULTI }, 1],
      [{ addresses: 0, flags: 0 }, 0],
    ]);
  });

  it('is put in force again when the interface is made again', () => {
    using tap = open();
    tap.setReceiveFilter?.(filter([OWN], []));
    network.ip('link', 'del', 'dev', 'vn0');
    tap.reopen();
    assert.deepEqual(received(tap), [OWN]);
  });

  it('is not left on an interface that stays', () => {
    {
      using tap = open({ persistent: true });
      tap.setReceiveFilter?.(filter([OWN], []));
    }
    using tap = open();
    assert.deepEqual(received(tap), ALL);
  });

  it('that a killed process left on an interface is taken away', () => {
    network.ip('tuntap', 'add', 'vn0', 'mode', 'tap', 'vnet_hdr');
    const netns = openNetns(network.name);
    const killed = new Tun(netns);
    netns.close();
    killed.setIff('vn0', IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    assert.equal(killed.setTxFilter(bytes(OWN)), 1);
    killed.close();
    using tap = open();
    assert.deepEqual(received(tap), ALL);
  });

  it('is not there where it would be the filter of others too', () => {
    using tap = open({ multiQueue: true });
    assert.equal(tap.setReceiveFilter, undefined);
  });
});

describeWith(['vhost', 'tun', 'root'], 'what a guest receives', () => {
  let network: TestNetwork;
  let tap: Tap;
  let guest: GuestNet;

  beforeEach(() => {
    network = new TestNetwork();
    tap = Tap.open({ tap: 'vn0', netns: network.name, addresses: ['10.9.0.1/24'] });
    guest = new GuestNet(tap);
  });
  afterEach(() => {
    guest.close();
    tap.close();
    network.close();
  });

  function begin(wanted?: (offered: bigint) => bigint): void {
    guest.begin(wanted);
    guest.offerReceive();
  }

  /** What comes of what the host sends; the last of it is for the guest itself. */
  function received(): string[] {
    send(network);
    const found: string[] = [];
    while (found.at(-1) !== OWN) found.push(destination(guest.receive()));
    return found;
  }

  const mode = (command: number, on: boolean) =>
    guest.command(net.VIRTIO_NET_CTRL_RX, command, Uint8Array.of(Number(on)));

  function table(unicast: string[], multicast: string[]): number {
    const list = (macs: string[]) => [
      macs.length,
      0,
      0,
      0,
      ...macs.flatMap((mac) => [...bytes(mac)]),
    ];
    return guest.command(
      net.VIRTIO_NET_CTRL_MAC,
      net.VIRTIO_NET_CTRL_MAC_TABLE_SET,
      Uint8Array.from([...list(unicast), ...list(multicast)]),
    );
  }

  it('is everything until it says what it wants, then that, and everything again after a reset', () => {
    begin();
    assert.deepEqual(received(), ALL);
    assert.equal(mode(net.VIRTIO_NET_CTRL_RX_PROMISC, false), net.VIRTIO_NET_OK);
    assert.equal(table([OTHER], [GROUP]), net.VIRTIO_NET_OK);
    assert.equal(guest.device.statistics().filtering, true);
    assert.deepEqual(received(), [OTHER, BROADCAST, GROUP, OWN]);
    table([], []);
    mode(net.VIRTIO_NET_CTRL_RX_ALLMULTI, true);
    assert.deepEqual(received(), [BROADCAST, GROUP, OTHER_GROUP, OWN]);
    mode(net.VIRTIO_NET_CTRL_RX_PROMISC, true);
    assert.deepEqual(received(), ALL);
    mode(net.VIRTIO_NET_CTRL_RX_PROMISC, false);
    guest.driver.reset();
    begin();
    assert.equal(guest.device.statistics().filtering, false);
    assert.deepEqual(received(), ALL);
  });

  it('is for its new address once it has given itself one', () => {
    begin();
    mode(net.VIRTIO_NET_CTRL_RX_PROMISC, false);
    const mac = bytes(OTHER);
    guest.command(net.VIRTIO_NET_CTRL_MAC, net.VIRTIO_NET_CTRL_MAC_ADDR_SET, mac);
    send(network, [OWN, BROADCAST, OTHER]);
    const found = [guest.receive(), guest.receive()].map(destination);
    assert.deepEqual(found, [BROADCAST, OTHER]);
    guest.driver.reset();
    assert.deepEqual(guest.device.mac, GUEST_MAC, 'as it was made');
  });

  it('is what it wanted also of an interface that was made again', async () => {
    begin();
    mode(net.VIRTIO_NET_CTRL_RX_PROMISC, false);
    network.ip('link', 'del', 'dev', 'vn0');
    assert.equal((await guest.fault()).outcome, 'repaired');
    assert.deepEqual(received(), [BROADCAST, OWN]);
  });

  it('is everything for a driver that knows nothing of receive modes', () => {
    begin((offered) => offered & ~bit(net.VIRTIO_NET_F_CTRL_RX));
    assert.equal(mode(net.VIRTIO_NET_CTRL_RX_PROMISC, false), net.VIRTIO_NET_ERR);
    assert.equal(table([OTHER], []), net.VIRTIO_NET_ERR);
    assert.deepEqual(received(), ALL);
  });

  it('is not said to be filtered where a backend can keep nothing away', () => {
    assert.ok(has(guest.driver.features, net.VIRTIO_NET_F_CTRL_RX));
    network.ip('link', 'add', 'va', 'type', 'veth', 'peer', 'name', 'vb');
    const backends = [
      { macvtap: 'mv0', link: 'va' },
      { packet: 'va' },
      { tap: 'vn1', multiQueue: true },
    ];
    for (const options of backends) {
      const backend = openBackend({ ...options, netns: network.name });
      const other = new GuestNet(backend);
      assert.ok(!has(other.driver.features, net.VIRTIO_NET_F_CTRL_RX), JSON.stringify(options));
      other.close();
      backend.close();
    }
  });
});
