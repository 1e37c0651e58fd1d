import assert from 'node:assert/strict';
import fs from 'node:fs';

import { TestNetwork } from '../support/network.js';
import { describeWith } from '../support/requirements.js';
import type { ReceiveFilter } from '#lib/backend/backend';
import { Tap } from '#lib/backend/tap';
import { formatMac, openNetns, parseMac } from '#lib/sys/link';
import { Tun } from '#lib/sys/tun';
import { IFF_NO_PI, IFF_TAP, IFF_VNET_HDR } from '#lib/uapi/tun';

const OWN = '02:00:00:00:00:02';
const OTHER = '02:00:00:00:00:03';
const BROADCAST = 'ff:ff:ff:ff:ff:ff';
/** The 6 bits of which the kernel keeps a hash differ: 57 and 46. */
const GROUP = '01:00:5e:00:00:05';
const OTHER_GROUP = '01:00:5e:00:00:06';
const ALL = [OWN, OTHER, BROADCAST, GROUP, OTHER_GROUP];

/** Before a frame, as a tap has it before an agreement. */
const HEADER_BYTES = 10;

const bytes = (mac: string) => parseMac(mac) ?? new Uint8Array(0);
const filter = (unicast: string[], multicast: string[] | 'all'): ReceiveFilter => ({
  unicast: unicast.map(bytes),
  multicast: multicast === 'all' ? 'all' : multicast.map(bytes),
});
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
      found.push(formatMac(frame.subarray(HEADER_BYTES, HEADER_BYTES + 6)));
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
    assert.deepEqual(received(tap), [OWN, BROADCAST, GROUP]);
    assert.equal(tap.link().counters.transmitDropped, transmitDropped + 2);
    tap.setReceiveFilter?.(filter([OWN], 'all'));
    assert.deepEqual(received(tap), [OWN, BROADCAST, GROUP, OTHER_GROUP]);
    assert.equal(tap.link().counters.transmitDropped, transmitDropped + 3);
  });

  it('never keeps a frame away that was asked for, however many addresses there are', () => {
    using tap = open();
    const hosts = Array.from({ length: 8 }, (_, i) => host(i));
    tap.setReceiveFilter?.(filter(hosts, [BROADCAST, GROUP]));
    assert.deepEqual(received(tap, [...hosts, OTHER]), hosts, 'eight hosts are told apart');
    assert.deepEqual(received(tap), [BROADCAST, GROUP], 'groups behind them as well');
    tap.setReceiveFilter?.(filter([...hosts, OWN], [BROADCAST]));
    assert.deepEqual(received(tap), ALL, 'with a ninth everything comes');
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
