import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';

import {
  GUEST_MAC,
  GuestNet,
  MEMORY_AT,
  MEMORY_BYTES,
  RING_SIZE,
  ringPlace,
} from '../support/guest-net.js';
import { TestNetwork } from '../support/network.js';
import { processState } from '../support/process-state.js';
import { Random } from '../support/random.js';
import { describeWith } from '../support/requirements.js';
import { Tap } from '#lib/backend/tap';
import type { IoctlMessage } from '#lib/observe';
import { DriverQueue } from '#lib/ring/driver-queue';
import { MAX_QUEUE_SIZE, splitLayout } from '#lib/ring/split-layout';
import { EventFd } from '#lib/sys/eventfd';
import { TUN_F_CSUM, TUN_F_TSO4 } from '#lib/uapi/tun';
import * as net from '#lib/uapi/virtio-net';
import {
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
  VIRTIO_MSI_NO_VECTOR,
  VIRTIO_PCI_COMMON_Q_MSIX,
  VIRTIO_PCI_COMMON_Q_SIZE,
} from '#lib/uapi/virtio-pci';
import { bit, has } from '#lib/uapi/virtio';

const RECEIVE = 0;
const TRANSMIT = 1;
/** A place in the guest's memory that no ring has at first. */
const ELSEWHERE = 9;

/** Who has 10.9.0.1? 10.9.0.2 at the guest's address asks. */
const ARP_REQUEST = Buffer.from(
  'ffffffffffff0200000000020806' + '00010800060400010200000000020a0900020000000000000a090001',
  'hex',
);

describeWith(['vhost', 'tun', 'root'], 'a guest and its network device', () => {
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

  /** One frame each way: the host answers from the tap's address. */
  function works(): void {
    guest.send([ARP_REQUEST]);
    const reply = guest.receive();
    assert.deepEqual([...reply.subarray(0, 6)], [...GUEST_MAC]);
    assert.equal(Buffer.from(reply).toString('hex', 20, 22), '0002', 'an ARP reply');
    assert.equal(Buffer.from(reply).toString('hex', 28, 32), '0a090001', 'of 10.9.0.1');
    guest.reclaim(1);
  }

  function begin(wanted?: (offered: bigint) => bigint): void {
    guest.begin(wanted);
    guest.offerReceive();
  }

  it('carries frames both ways with no notification in user space', () => {
    begin();
    assert.equal(guest.driver.status & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    works();
    assert.equal(guest.driver.exits, 0);
    assert.ok(guest.interrupts(RECEIVE) >= 1);
    assert.ok(guest.interrupts(TRANSMIT) >= 1);
    const { counters } = tap.link();
    assert.equal(counters.receiveErrors, 0);
  });

  it('offers what vhost, the tap and the device model can, each its own', () => {
    const { features } = guest.driver;
    for (const number of [
      net.VIRTIO_NET_F_CSUM,
      net.VIRTIO_NET_F_GUEST_TSO4,
      net.VIRTIO_NET_F_HOST_TSO6,
      net.VIRTIO_NET_F_MRG_RXBUF,
      net.VIRTIO_NET_F_MAC,
      net.VIRTIO_NET_F_STATUS,
      net.VIRTIO_NET_F_CTRL_VQ,
    ]) {
      assert.ok(has(features, number), `bit ${String(number)}`);
    }
    for (const number of [24, 26, 27, 33, 34]) assert.ok(!has(features, number));
  });

  it('works with a driver that takes no more than it must', () => {
    begin(() => bit(32));
    works();
  });

  it('serves a ring as long as there can be one', () => {
    guest.close();
    const size = MAX_QUEUE_SIZE;
    guest = new GuestNet(tap, { queueSize: size });
    begin();
    guest.driver.select(TRANSMIT);
    guest.driver.resetQueue(TRANSMIT);
    assert.equal(guest.driver.common(VIRTIO_PCI_COMMON_Q_SIZE, 2), size);
    const { desc, avail, used } = splitLayout(size);
    const at = MEMORY_BYTES / 2;
    const long = new DriverQueue(guest.pages.buffer, at, { size, eventIdx: true });
    const place = { desc, avail: desc + avail, used: desc + used };
    for (const part of ['desc', 'avail', 'used'] as const) place[part] += MEMORY_AT + at;
    guest.driver.setUpQueue(TRANSMIT, size, place, TRANSMIT + 1);
    guest.queues[TRANSMIT] = long;
    works();
    assert.equal(guest.device.statistics().pairs[0]?.transmit.size, size);
  });

  it('is itself again after a reset with frames in flight', () => {
    const scribbled = Buffer.alloc(guest.bytes.length, 0xa5);
    for (let round = 0; round < 20; round++) {
      begin();
      guest.send(Array.from({ length: RING_SIZE }, () => ARP_REQUEST));
      guest.driver.reset();
      assert.equal(guest.device.statistics().activePairs, 0);
      // The worker has nothing of this memory any more: what is written now stays.
      guest.bytes.fill(0xa5);
      tap.link();
      assert.ok(scribbled.equals(guest.bytes));
    }
    begin();
    works();
    assert.deepEqual(guest.failures, []);
  });

  it('keeps what is signalled while a vector is masked, and delivers it when it is not', () => {
    begin();
    works();
    const before = guest.interrupts(RECEIVE);
    const event = guest.platform.attachedFor(0x41 + RECEIVE);
    assert.ok(event);
    guest.driver.maskVector(RECEIVE + 1, true);
    guest.send([ARP_REQUEST]);
    assert.notEqual(EventFd.wait(1000, event), 0);
    assert.ok(guest.driver.isPending(RECEIVE + 1));
    assert.ok(guest.driver.isPending(RECEIVE + 1), 'looking consumes nothing');
    assert.equal(guest.interrupts(RECEIVE), before);
    guest.driver.maskVector(RECEIVE + 1, false);
    assert.equal(guest.interrupts(RECEIVE), before + 1);
    assert.ok(!guest.driver.isPending(RECEIVE + 1));
    guest.receive();
  });

  it('loses no interrupt while vectors are masked, moved and unmasked 1,000 times', () => {
    begin();
    works();
    const random = new Random(1);
    const vector = RECEIVE + 1;
    let data = 0x41 + RECEIVE;
    for (let round = 0; round < 1000; round++) {
      const before = guest.platform.deliver(data);
      if (random.chance(0.5)) guest.driver.maskVector(vector, true);
      guest.send([ARP_REQUEST]);
      if (random.chance(0.5)) {
        // As a move to another CPU: masked, another message, unmasked.
        data = 0x100 + round;
        guest.driver.setVector(vector, data);
      } else {
        guest.driver.maskVector(vector, true);
        guest.driver.maskVector(vector, false);
      }
      const event = guest.platform.attachedFor(data);
      assert.ok(event);
      while (guest.platform.deliver(data) === before) {
        assert.notEqual(EventFd.wait(1000, event), 0, `no interrupt in round ${String(round)}`);
      }
      guest.receive();
      guest.reclaim(1);
    }
  }).timeout(120_000);

  it('signals another vector when the driver moves a queue while it runs, and none when it wants none', () => {
    begin();
    guest.driver.select(RECEIVE);
    guest.driver.setCommon(VIRTIO_PCI_COMMON_Q_MSIX, 2, VIRTIO_MSI_NO_VECTOR);
    const before = guest.interrupts(RECEIVE);
    guest.send([ARP_REQUEST]);
    guest.untilUsed(TRANSMIT);
    while (guest.queue(RECEIVE).poll() === 0);
    assert.equal(guest.interrupts(RECEIVE), before);
    // Now those of the transmit ring's vector: told once for what came meanwhile.
    const transmit = guest.interrupts(TRANSMIT);
    guest.driver.select(RECEIVE);
    guest.driver.setCommon(VIRTIO_PCI_COMMON_Q_MSIX, 2, TRANSMIT + 1);
    assert.equal(guest.interrupts(TRANSMIT), transmit + 1);
    guest.receive();
  });

  it('resets one ring and takes it again while the other runs', () => {
    begin();
    works();
    for (const ring of [TRANSMIT, RECEIVE, TRANSMIT]) {
      guest.driver.resetQueue(ring);
      guest.setUpQueue(ring);
      if (ring === RECEIVE) guest.offerReceive();
      works();
    }
    assert.equal(guest.device.statistics().activePairs, 1);
    assert.deepEqual(guest.failures, []);
  });

  it('stops at link down, and goes on where it was at link up', () => {
    begin();
    works();
    const before = guest.configInterrupts();
    const generation = guest.driver.common(21, 1);
    guest.device.setLink(false);
    assert.equal(guest.driver.device(6, 2) & net.VIRTIO_NET_S_LINK_UP, 0);
    assert.equal(guest.configInterrupts(), before + 1);
    assert.notEqual(guest.driver.common(21, 1), generation);
    guest.send([ARP_REQUEST]);
    guest.device.setLink(true);
    assert.equal(guest.driver.device(6, 2) & net.VIRTIO_NET_S_LINK_UP, 1);
    guest.receive();
    guest.reclaim(1);
    works();
  });

  describe('the control queue', () => {
    const offloads = (features: bigint) => {
      const data = new Uint8Array(8);
      new DataView(data.buffer).setBigUint64(0, features, true);
      return guest.command(
        net.VIRTIO_NET_CTRL_GUEST_OFFLOADS,
        net.VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
        data,
      );
    };

    /** What the tap was told last. */
    function told(body: () => void): unknown {
      let flags: unknown;
      const listen = (message: unknown) => {
        const { request, arguments: args } = message as IoctlMessage;
        if (request === 'TUNSETOFFLOAD') flags = args['flags'];
      };
      subscribe('vhost-net:ioctl', listen);
      body();
      unsubscribe('vhost-net:ioctl', listen);
      return flags;
    }

    it('changes what the tap may hand over', () => {
      begin();
      const wanted = bit(net.VIRTIO_NET_F_GUEST_CSUM) | bit(net.VIRTIO_NET_F_GUEST_TSO4);
      const flags = told(() => {
        assert.equal(offloads(wanted), net.VIRTIO_NET_OK);
      });
      assert.equal(flags, TUN_F_CSUM | TUN_F_TSO4);
      assert.equal(offloads(bit(net.VIRTIO_NET_F_GUEST_TSO4)), net.VIRTIO_NET_ERR);
      assert.equal(offloads(bit(net.VIRTIO_NET_F_CSUM)), net.VIRTIO_NET_ERR);
      works();
    });

    it('changes the address, and says what it does not do', () => {
      begin();
      const mac = Uint8Array.of(2, 0, 0, 0, 0, 9);
      const setMac = (bytes: Uint8Array) =>
        guest.command(net.VIRTIO_NET_CTRL_MAC, net.VIRTIO_NET_CTRL_MAC_ADDR_SET, bytes);
      assert.equal(setMac(mac), net.VIRTIO_NET_OK);
      assert.deepEqual(guest.device.mac, mac);
      assert.equal(setMac(Uint8Array.of(3, 0, 0, 0, 0, 9)), net.VIRTIO_NET_ERR);
      assert.equal(setMac(Uint8Array.of(2)), net.VIRTIO_NET_ERR);
      assert.equal(guest.command(net.VIRTIO_NET_CTRL_RX, 2, Uint8Array.of(1)), net.VIRTIO_NET_ERR);
      assert.equal(
        guest.command(net.VIRTIO_NET_CTRL_VLAN, 0, Uint8Array.of(1, 0)),
        net.VIRTIO_NET_ERR,
      );
      const pairs = Uint8Array.of(1, 0);
      assert.equal(
        guest.command(net.VIRTIO_NET_CTRL_MQ, net.VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, pairs),
        net.VIRTIO_NET_ERR,
      );
      assert.deepEqual(guest.device.statistics().control, { commands: 6, refused: 5 });
      works();
    });

    it('takes back the wish that the guest announces itself', () => {
      begin();
      guest.device.announce();
      assert.equal(guest.driver.device(6, 2), 3);
      const ack = [net.VIRTIO_NET_CTRL_ANNOUNCE, net.VIRTIO_NET_CTRL_ANNOUNCE_ACK] as const;
      assert.equal(guest.command(...ack), net.VIRTIO_NET_OK);
      assert.equal(guest.driver.device(6, 2), 1);
    });
  });

  describe('what a driver does wrong', () => {
    function needsReset(): void {
      assert.ok(guest.driver.status & VIRTIO_CONFIG_S_NEEDS_RESET);
      assert.ok(guest.driver.status & VIRTIO_CONFIG_S_DRIVER_OK);
      assert.equal(guest.configInterrupts(), 1);
      assert.equal(guest.device.statistics().activePairs, 0);
    }

    it('a ring outside of memory needs a reset, and is well after it', () => {
      for (const desc of [0, 0x100008, 2 ** 40, 2 ** 63, 0x100000 + 4 * 1024 * 1024 - 16]) {
        guest.features = guest.driver.negotiate((offered) => offered);
        guest.driver.enableMsix();
        guest.driver.setVector(0, 0x40);
        guest.driver.setCommon(16, 2, 0);
        const before = guest.configInterrupts();
        guest.driver.setUpQueue(RECEIVE, RING_SIZE, { ...ringPlace(0), desc }, 1);
        guest.driver.driverOk();
        assert.ok(guest.driver.status & VIRTIO_CONFIG_S_NEEDS_RESET, `desc ${String(desc)}`);
        assert.equal(guest.configInterrupts(), before + 1);
        assert.equal(guest.device.statistics().activePairs, 0);
      }
      guest.driver.reset();
      begin();
      works();
    });

    it('a descriptor that names no memory is told, and needs a reset', async () => {
      begin();
      const queue = guest.queue(TRANSMIT);
      const id = queue.acquire();
      queue.setDescriptor(id, 2 ** 40, 64, 0);
      queue.offer(id);
      queue.publish();
      guest.driver.notify(TRANSMIT);
      const { message, ...fault } = await guest.fault();
      assert.match(message, /gave transmit up/);
      assert.deepEqual(fault, {
        cause: 'kernel',
        ring: 'transmit',
        outcome: 'needs-reset',
        unsent: 0,
      });
      needsReset();
      guest.driver.reset();
      begin();
      works();
    });
  });

  describe('what is mended without the guest', () => {
    it('a tap that was deleted is made again, and every ring goes on where it was', async () => {
      begin();
      works();
      network.ip('link', 'del', 'dev', 'vn0');
      guest.send([ARP_REQUEST]);
      const { cause, outcome, unsent } = await guest.fault();
      assert.deepEqual([cause, outcome], ['backend', 'repaired']);
      assert.ok(unsent <= 1, 'the worker may have taken the frame');
      guest.reclaim(1);
      works();
      assert.equal(guest.driver.status & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
      assert.equal(guest.device.statistics().pairs[0]?.transmit.used, 3);
      assert.equal(guest.device.statistics().unsent, unsent);
      assert.ok(guest.driver.device(6, 2) & net.VIRTIO_NET_S_ANNOUNCE, 'where it is now');
    });

    it('a frame that the tap refuses for ever is given back unsent, and counted', async () => {
      begin();
      works();
      // NEEDS_CSUM, far outside the frame.
      guest.send([ARP_REQUEST], TRANSMIT, Uint8Array.of(1, 0, 0, 0, 0, 0, 0xf0, 0xff, 0, 0, 0, 0));
      guest.send([ARP_REQUEST]);
      const { cause, outcome, unsent } = await guest.fault();
      assert.deepEqual([cause, outcome, unsent], ['stuck', 'repaired', 1]);
      guest.receive();
      guest.reclaim(2);
      works();
      assert.equal(guest.device.statistics().unsent, 1);
      assert.equal(guest.driver.status & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    });

    it('the same in a ring that was laid elsewhere meanwhile: it is looked at there', async () => {
      begin();
      works();
      guest.driver.resetQueue(TRANSMIT);
      guest.setUpQueue(TRANSMIT, ELSEWHERE);
      guest.send([ARP_REQUEST], TRANSMIT, Uint8Array.of(1, 0, 0, 0, 0, 0, 0xf0, 0xff, 0, 0, 0, 0));
      const { cause, outcome, unsent } = await guest.fault();
      assert.deepEqual([cause, outcome, unsent], ['stuck', 'repaired', 1]);
      guest.reclaim(1);
      works();
    });

    it('a tap that can not be made again is waited for', async () => {
      begin();
      network.ip('link', 'del', 'dev', 'vn0');
      network.ip('link', 'add', 'vn0', 'type', 'dummy');
      assert.equal((await guest.fault()).outcome, 'waiting');
      assert.equal(guest.device.statistics().activePairs, 0);
      network.ip('link', 'del', 'dev', 'vn0');
      assert.equal((await guest.fault()).outcome, 'repaired');
      works();
    });

    it('a tap that went while nobody drove is made again when somebody does', () => {
      network.ip('link', 'del', 'dev', 'vn0');
      begin();
      works();
      assert.deepEqual(guest.failures, []);
    });
  });

  it('knows how often the guest kicked, and how far its rings are', () => {
    begin();
    works();
    const { activePairs, pairs } = guest.device.statistics();
    assert.equal(activePairs, 1);
    const { receive, transmit } = pairs[0] ?? {};
    assert.ok((receive?.kicks ?? 0) >= 1);
    assert.deepEqual(transmit, { kicks: 1, running: true, size: RING_SIZE, waiting: 0, used: 1 });
    assert.equal(receive?.used, 1);
    assert.equal(receive.waiting, RING_SIZE);
    // A kick that came to user space all the same is as good, and counted here and there.
    guest.bus.memory.write(guest.driver.doorbell(TRANSMIT), 2, TRANSMIT);
    assert.equal(guest.device.statistics().pairs[0]?.transmit.kicks, 2);
    assert.equal(guest.pci.statistics().notifications, 1);
  });

  it('leaves nothing behind', () => {
    const before = processState();
    for (let round = 0; round < 5; round++) {
      const other = Tap.open({ tap: 'vn1', netns: network.name });
      const second = new GuestNet(other);
      second.begin();
      second.offerReceive();
      second.send([ARP_REQUEST]);
      second.close();
      other.close();
      assert.equal(second.platform.lines, 0);
      assert.deepEqual(second.platform.bells, []);
    }
    assert.deepEqual(processState(), before);
  });
});
