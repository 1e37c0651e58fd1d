import assert from 'node:assert/strict';

import { GUEST_MAC, GuestNet, MEMORY_AT, MEMORY_BYTES, RING_SIZE } from '../support/guest-net.js';
import { TestNetwork } from '../support/network.js';
import { processState } from '../support/process-state.js';
import { Random } from '../support/random.js';
import { describeWith } from '../support/requirements.js';
import { Tap } from '#lib/backend/tap';
import { splitLayout } from '#lib/ring/split-layout';
import { formatMac } from '#lib/sys/link';
import { VIRTIO_CONFIG_S_NEEDS_RESET } from '#lib/uapi/virtio-pci';
import { VIRTIO_F_VERSION_1, bit } from '#lib/uapi/virtio';
import { isConsistent } from '#lib/vmm/net-features';

/** From kernel to kernel the same. */
const SEED = Number(process.env['VHOST_HOSTILE_SEED'] ?? 42);
const ROUNDS = Number(process.env['VHOST_HOSTILE_ROUNDS'] ?? 100);

const ARP_REQUEST = Buffer.from(
  'ffffffffffff0200000000020806' + '00010800060400010200000000020a0900020000000000000a090001',
  'hex',
);

/** Bytes of all three rings. */
const RINGS = 0x30000;

/** A driver that takes what it may not is refused before anything begins: that is another test. */
function consistent(features: bigint): bigint {
  return isConsistent(features) ? features : 0n;
}

describeWith(['vhost', 'tun', 'root'], 'a hostile guest', () => {
  let network: TestNetwork;
  let tap: Tap;
  let guest: GuestNet;
  let random: Random;

  beforeEach(() => {
    network = new TestNetwork();
    tap = Tap.open({ tap: 'vn0', netns: network.name, addresses: ['10.9.0.1/24'] });
    guest = new GuestNet(tap);
    random = new Random(SEED);
  });
  afterEach(() => {
    guest.close();
    tap.close();
    network.close();
  });

  const below = (count: number) => random.below(count);

  const VALUES = [0, 1, 2, 3, 4, 7, 16, 63, 64, 65, 0xff, 0x7fff, 0x8000, 0xffff];
  const value = () => random.pick(VALUES);

  /** An address in memory, at its edges, or nowhere. */
  function address(): number {
    const edges = [MEMORY_AT, MEMORY_AT + MEMORY_BYTES - 8, MEMORY_AT - 8, 0, 2 ** 40, 2 ** 52];
    return below(3) === 0 ? random.pick(edges) : MEMORY_AT + below(MEMORY_BYTES);
  }

  /** Scribbles on indices, entries and descriptors of a ring, as a thread of the guest's might. */
  function scribble(): void {
    const view = new DataView(guest.pages.buffer);
    for (let n = below(20); n > 0; n--) {
      const ring = 0x10000 * below(2);
      if (below(2) === 0) {
        const at = ring + 16 * below(64);
        view.setBigUint64(at, BigInt(address()), true);
        view.setUint32(at + 8, below(4) === 0 ? 0xffffffff : below(0x11000), true);
        view.setUint16(at + 12, below(8), true);
        view.setUint16(at + 14, value(), true);
      } else {
        view.setUint16(ring + 2 * below(1100), value(), true);
      }
    }
    view.setUint16(0x10000 * below(3) + 2 * below(RINGS / 8), value(), true);
  }

  function registers(): void {
    for (let n = below(10); n > 0; n--) {
      const size = random.pick([1, 2, 4]);
      const places = [below(0x40), 0x4000 + below(0x50), 0x3000 + below(16), below(0x8000)];
      const at = 0xe0000000 + random.pick(places);
      if (below(3) === 0) guest.bus.memory.read(at, size);
      else guest.bus.memory.write(at, size, value());
    }
    if (below(4) === 0) guest.driver.writeConfig(4 * below(64), 4, value());
  }

  it('has its link set down whatever the driver wrote to its rings', () => {
    guest.begin();
    guest.send([ARP_REQUEST]);
    guest.reclaim(1);
    const words = new Uint16Array(guest.pages.buffer, 0x10000);
    const { avail, used } = splitLayout(RING_SIZE);
    // One that the worker took and did not give back, and its head names no descriptor.
    words[used / 2 + 1] = (words[used / 2 + 1] ?? 0) - 1;
    words.fill(0xffff, avail / 2 + 2, avail / 2 + 2 + RING_SIZE);
    guest.device.setLink(false);
    assert.deepEqual(guest.faults, []);
    assert.equal(guest.driver.status & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    guest.driver.reset();
    guest.device.setLink(true);
    guest.begin();
    guest.offerReceive();
    guest.send([ARP_REQUEST]);
    guest.receive();
  });

  it('does whatever it likes to its rings and registers, and is reset every time', async () => {
    network.ip('neigh', 'add', '10.9.0.2', 'lladdr', formatMac(GUEST_MAC), 'dev', 'vn0');
    const flood = network.start('ping', '-f', '-q', '10.9.0.2');
    const before = processState();
    guest.behind.fill(0x5a);
    const untouched = Buffer.from(guest.behind);
    try {
      for (let round = 0; round < ROUNDS; round++) {
        guest.bus.reset();
        guest.driver.probe();
        guest.begin(
          (offered) => consistent(offered & BigInt(below(2 ** 32))) | bit(VIRTIO_F_VERSION_1),
        );
        guest.offerReceive();
        guest.send([ARP_REQUEST]);
        for (let n = below(10); n > 0; n--) {
          scribble();
          guest.driver.notify(below(3));
          if (below(2) === 0) registers();
          if (below(3) === 0) await new Promise((resolve) => setImmediate(resolve));
        }
        guest.bus.reset();
        assert.equal(guest.device.statistics().activePairs, 0);
        assert.deepEqual(guest.platform.bells, []);
        assert.ok(
          untouched.equals(guest.behind),
          `memory that is not the guest's, ${String(round)}`,
        );
      }
    } finally {
      flood.kill();
    }
    assert.deepEqual(processState(), before);
    const outcomes = new Set(guest.faults.map(({ outcome }) => outcome));
    assert.ok(outcomes.has('needs-reset'), 'a ring was given up now and then');
    guest.driver.probe();
    guest.begin();
    guest.offerReceive();
    guest.send([ARP_REQUEST]);
    guest.receive();
  }).timeout(300_000);
});
