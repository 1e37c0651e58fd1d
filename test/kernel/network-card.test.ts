import assert from 'node:assert/strict';

import { FakePlatform } from '../support/fake-platform.js';
import { GuestDriver } from '../support/guest-driver.js';
import { TestNetwork } from '../support/network.js';
import { describeWith } from '../support/requirements.js';
import { Tap } from '#lib/backend/tap';
import { GuestMemory } from '#lib/memory/guest-memory';
import { Pages } from '#lib/sys/pages';
import { VIRTIO_NET_S_ANNOUNCE, VIRTIO_NET_S_LINK_UP } from '#lib/uapi/virtio-net';
import { GuestLimits } from '#lib/vmm/guest-limits';
import { NetworkCard } from '#lib/vmm/network-card';
import { PciBus } from '#lib/vmm/pci-bus';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);
/** Offsets of `struct virtio_net_config`. */
const STATUS = 6;
const MTU = 10;

describeWith(['vhost', 'tun', 'root'], 'a network card of a machine', () => {
  let network: TestNetwork;
  let backend: Tap;
  let pages: Pages;
  let memory: GuestMemory;
  let card: NetworkCard;
  let driver: GuestDriver;

  beforeEach(() => {
    network = new TestNetwork();
    backend = Tap.open({ tap: 'vn0', netns: network.name });
    pages = Pages.allocate({ byteLength: 0x10000 });
    const { buffer, address: hostAddress } = pages;
    const region = { guestAddress: 0, hostAddress, buffer, byteLength: buffer.byteLength };
    memory = new GuestMemory([region]);
    const platform = new FakePlatform();
    const bus = new PciBus({ start: 0xe0000000, byteLength: 0x1000000 });
    const net = { backend, mac: MAC, queuePairs: 1, queueSize: 512, mtu: 1400 };
    card = NetworkCard.open(net, {
      ...{ memory, interrupts: platform, doorbells: platform },
      limits: new GuestLimits(1),
      onFault: ({ message }) => assert.fail(message),
      onFailure: (error) => assert.fail(error as Error),
    });
    bus.add(card.pci);
    driver = new GuestDriver(bus, platform);
    driver.probe();
  });
  afterEach(() => {
    card.close();
    memory.close();
    pages.close();
    backend.close();
    network.close();
  });

  const status = () => driver.device(STATUS, 2);

  it('shows what it is told, and what it was made with', () => {
    assert.equal(driver.device(MTU, 2), 1400);
    card.setMtu(1300);
    assert.equal(driver.device(MTU, 2), 1300);
    card.setMac('02:00:00:00:00:07');
    assert.equal(driver.device(2, 4) >>> 24, 7);
    assert.equal(card.statistics().mac, '02:00:00:00:00:07');
    assert.ok(card.linkUp);
    card.setLink(false);
    assert.ok(!card.linkUp);
    assert.equal(status() & VIRTIO_NET_S_LINK_UP, 0);
    driver.select(0);
    assert.equal(driver.common(24, 2), 512);
  });

  it('keeps what it was told over a reset of its driver', () => {
    card.setMac('02:00:00:00:00:07');
    card.setLink(false);
    driver.negotiate((offered) => offered);
    driver.driverOk();
    driver.reset();
    assert.equal(card.statistics().mac, '02:00:00:00:00:07');
    assert.equal(status() & VIRTIO_NET_S_LINK_UP, 0);
  });

  it('asks a guest where it is that has a driver to say it, and no other', () => {
    assert.equal(card.announce(), false);
    driver.negotiate((offered) => offered);
    driver.driverOk();
    assert.equal(card.announce(), true);
    assert.notEqual(status() & VIRTIO_NET_S_ANNOUNCE, 0);
  });

  it('refuses what no card can be told, naming it', () => {
    assert.throws(() => card.setLink(1 as unknown as boolean), /up must be a boolean/);
    for (const mtu of [67, 65536, 1400.5, '1400']) {
      assert.throws(() => card.setMtu(mtu as number), /mtu must be an integer in 68/);
    }
    for (const mac of ['03:00:00:00:00:02', '02:00', 2, undefined]) {
      assert.throws(() => card.setMac(mac as string), /mac must be six/);
    }
  });

  it('takes nothing any more when the machine has ended', () => {
    card.close();
    const calls = [
      () => card.setLink(false),
      () => card.announce(),
      () => card.setMtu(1300),
      () => card.setMac('02:00:00:00:00:07'),
      () => card.statistics(),
    ];
    for (const call of calls) assert.throws(call, { code: 'ERR_VHOST_CLOSED' });
  });
});
