import assert from 'node:assert/strict';

import { GuestNet, RING_SIZE } from '../support/guest-net.js';
import { TestNetwork } from '../support/network.js';
import { describeWith } from '../support/requirements.js';
import { Tap } from '#lib/backend/tap';
import { CardFaults } from '#lib/vmm/card-faults';

/** Who has 10.9.0.1? 10.9.0.2 at the guest's address asks. */
const ARP_REQUEST = Buffer.from(
  'ffffffffffff0200000000020806' + '00010800060400010200000000020a0900020000000000000a090001',
  'hex',
);

const RECEIVE = 0;
const TRANSMIT = 1;

describeWith(['vhost', 'tun', 'root'], 'a guest whose card is interfered with', () => {
  let network: TestNetwork;
  let tap: Tap;
  let guest: GuestNet;
  let faults: CardFaults;

  beforeEach(() => {
    network = new TestNetwork();
    tap = Tap.open({ tap: 'vn0', netns: network.name, addresses: ['10.9.0.1/24'] });
    guest = new GuestNet(tap);
    faults = new CardFaults(guest.device, guest.pci);
    guest.begin();
    guest.offerReceive();
  });
  afterEach(() => {
    guest.close();
    tap.close();
    network.close();
  });

  const rings = () => guest.device.statistics().pairs[0];

  /** So many requests, each of which the host answers. */
  function works(count = 1): void {
    guest.send(Array.from({ length: count }, () => ARP_REQUEST));
    for (let i = 0; i < count; i++) guest.receive();
    guest.reclaim(count);
  }

  it('has its frames wait in a transmit ring that is held, and all of them go out then', () => {
    works();
    const sent = tap.link().counters.receivePackets;
    const end = faults.holdRing('transmit');
    guest.send(Array.from({ length: RING_SIZE }, () => ARP_REQUEST));
    assert.equal(rings()?.transmit.running, false);
    assert.equal(rings()?.receive.running, true);
    assert.equal(guest.queue(TRANSMIT).poll(), 0);
    end();
    guest.reclaim(RING_SIZE);
    for (let i = 0; i < RING_SIZE; i++) guest.receive();
    assert.equal(tap.link().counters.receivePackets, sent + RING_SIZE);
    works();
  });

  it('has frames wait for a receive ring that is held, and all of them come then', () => {
    works();
    const end = faults.holdRing('receive');
    guest.send(Array.from({ length: RING_SIZE }, () => ARP_REQUEST));
    guest.reclaim(RING_SIZE);
    const { transmitPackets, transmitDropped } = tap.link().counters;
    assert.equal(guest.queue(RECEIVE).poll(), 0);
    end();
    for (let i = 0; i < RING_SIZE; i++) guest.receive();
    const { counters } = tap.link();
    assert.equal(counters.transmitPackets, transmitPackets + RING_SIZE);
    assert.equal(counters.transmitDropped, transmitDropped);
    works();
  });

  it('gets no ring back that is held by a reset, by a link that comes up, or by a tap that is made again', async () => {
    const end = faults.holdRing('transmit');
    guest.driver.reset();
    guest.begin();
    guest.offerReceive();
    guest.device.setLink(false);
    guest.device.setLink(true);
    network.ip('link', 'del', 'dev', 'vn0');
    assert.equal((await guest.fault()).outcome, 'repaired');
    guest.driver.resetQueue(TRANSMIT);
    guest.setUpQueue(TRANSMIT);
    assert.equal(rings()?.receive.running, true);
    assert.equal(rings()?.transmit.running, false);
    end();
    assert.equal(rings()?.transmit.running, true);
    works();
    assert.deepEqual(guest.failures, []);
  });

  it('finds what was completed in silence, and is interrupted for it at the end', () => {
    works();
    const end = faults.holdCompletions('receive');
    const before = guest.interrupts(RECEIVE);
    guest.send([ARP_REQUEST]);
    guest.reclaim(1);
    while (guest.queue(RECEIVE).poll() === 0);
    assert.equal(guest.interrupts(RECEIVE), before);
    end();
    assert.equal(guest.interrupts(RECEIVE), before + 1);
    guest.receive();
    works(3);
  });

  it('is interrupted once a vector is not held any more', () => {
    works();
    const end = faults.holdVector(RECEIVE + 1);
    const before = guest.interrupts(RECEIVE);
    guest.send([ARP_REQUEST]);
    guest.reclaim(1);
    while (guest.queue(RECEIVE).poll() === 0);
    // Used before it is told: the worker may not have signalled yet.
    while (!guest.driver.isPending(RECEIVE + 1));
    assert.equal(guest.interrupts(RECEIVE), before);
    end();
    assert.equal(guest.interrupts(RECEIVE), before + 1);
    guest.receive();
    works(3);
  });
});
