import assert from 'node:assert/strict';

import { GuestNet, RING_SIZE, ringPlace } from '../support/guest-net.js';
import { TestNetwork } from '../support/network.js';
import { describeWith } from '../support/requirements.js';
import { Tap } from '#lib/backend/tap';
import {
  VIRTIO_NET_CTRL_MQ,
  VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
  VIRTIO_NET_ERR,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_OK,
} from '#lib/uapi/virtio-net';
import { VIRTIO_CONFIG_S_NEEDS_RESET } from '#lib/uapi/virtio-pci';
import { bit, has } from '#lib/uapi/virtio';

/** Who has 10.9.0.1? 10.9.0.2 at the guest's address asks. */
const ARP_REQUEST = Buffer.from(
  'ffffffffffff0200000000020806' + '00010800060400010200000000020a0900020000000000000a090001',
  'hex',
);

const TRANSMIT = [1, 3] as const;
const RECEIVE = [0, 2] as const;

describeWith(['vhost', 'tun', 'root'], 'a guest with two queue pairs', () => {
  let network: TestNetwork;
  let tap: Tap;
  let guest: GuestNet;

  beforeEach(() => {
    network = new TestNetwork();
    tap = Tap.open({ tap: 'vn0', netns: network.name, addresses: ['10.9.0.1/24'] }, 2);
    guest = new GuestNet(tap, { queuePairs: 2 });
  });
  afterEach(() => {
    guest.close();
    tap.close();
    network.close();
  });

  function begin(wanted?: (offered: bigint) => bigint): void {
    guest.begin(wanted);
    guest.offerReceive(RECEIVE[0]);
    if (has(guest.features, VIRTIO_NET_F_MQ)) guest.offerReceive(RECEIVE[1]);
  }

  const setPairs = (count: number) =>
    guest.command(
      VIRTIO_NET_CTRL_MQ,
      VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
      Uint8Array.of(count & 0xff, count >> 8),
    );

  /** The host answers; through which of its queues is the kernel's to say. */
  function answered(): void {
    for (let waited = 0; RECEIVE.every((ring) => guest.queue(ring).poll() === 0); waited++) {
      assert.ok(waited < 1e6, 'no answer');
    }
    guest.receive(RECEIVE.find((ring) => guest.queue(ring).poll() > 0));
  }

  it('begins with one, carries frames through both when told so, and through one again', () => {
    begin();
    assert.equal(guest.driver.device(8, 2), 2, 'max_virtqueue_pairs');
    assert.equal(guest.device.statistics().activePairs, 1);
    assert.equal(tap.queues.length, 1);
    assert.equal(setPairs(2), VIRTIO_NET_OK);
    assert.equal(guest.device.statistics().activePairs, 2);
    assert.equal(tap.queues.length, 2);
    for (const ring of TRANSMIT) {
      guest.send([ARP_REQUEST], ring);
      guest.reclaim(1, ring);
      answered();
    }
    assert.equal(guest.driver.exits, 1, 'the command');
    assert.equal(setPairs(1), VIRTIO_NET_OK);
    assert.equal(guest.device.statistics().activePairs, 1);
    assert.equal(tap.queues.length, 1);
    guest.send([ARP_REQUEST]);
    guest.reclaim(1);
    guest.receive(RECEIVE[0]);
    // What waits in the other ring goes on where it was.
    guest.send([ARP_REQUEST], TRANSMIT[1]);
    assert.equal(setPairs(2), VIRTIO_NET_OK);
    guest.reclaim(1, TRANSMIT[1]);
  });

  it('refuses none and more than there are', () => {
    begin();
    for (const count of [0, 3, 0xffff]) assert.equal(setPairs(count), VIRTIO_NET_ERR);
    assert.equal(guest.device.statistics().activePairs, 1);
  });

  it('hears at once of a ring of the second pair that lies nowhere, and the tap stays', () => {
    const link = tap.link().index;
    guest.features = guest.driver.negotiate((offered) => offered);
    guest.driver.enableMsix();
    for (const index of [0, 1, 3, 4]) guest.setUpQueue(index);
    guest.driver.setUpQueue(RECEIVE[1], RING_SIZE, { ...ringPlace(RECEIVE[1]), used: 2 ** 40 }, 3);
    guest.driver.driverOk();
    assert.ok(guest.driver.status & VIRTIO_CONFIG_S_NEEDS_RESET);
    assert.equal(guest.device.statistics().activePairs, 0);
    assert.equal(tap.link().index, link);
    guest.driver.reset();
    begin();
    assert.equal(setPairs(2), VIRTIO_NET_OK);
  });

  it('is back to one after a reset', () => {
    begin();
    setPairs(2);
    guest.driver.reset();
    begin();
    assert.equal(tap.queues.length, 1);
    assert.equal(guest.device.statistics().activePairs, 1);
    guest.send([ARP_REQUEST]);
    guest.receive(RECEIVE[0]);
  });

  it('has its control queue behind the first pair when the driver knows of no other', () => {
    begin((offered) => offered & ~bit(VIRTIO_NET_F_MQ));
    assert.equal(guest.controlIndex, 2);
    assert.equal(setPairs(2), VIRTIO_NET_ERR);
    guest.send([ARP_REQUEST]);
    guest.receive(RECEIVE[0]);
  });
});
