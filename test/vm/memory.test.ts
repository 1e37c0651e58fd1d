import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';

import { BOOT } from '../support/guest.js';
import { TestNetwork } from '../support/network.js';
import { NetworkedGuest } from '../support/networked-guest.js';
import { describeWith } from '../support/requirements.js';
import type { IoctlMessage } from '#lib/observe';
import type { MemorySlot } from '#lib/sys/kvm';
import type { VringAddresses } from '#lib/sys/vhost-net';

const FOUR_GIB = 1n << 32n;

/** Where a machine's memory and rings lie, as KVM and vhost were told. */
class Places {
  readonly slots: MemorySlot[] = [];
  readonly rings: VringAddresses[] = [];

  readonly note = (message: unknown): void => {
    const { request, arguments: given } = message as IoctlMessage;
    if (request === 'KVM_SET_USER_MEMORY_REGION') this.slots.push(given as unknown as MemorySlot);
    if (request === 'VHOST_SET_VRING_ADDR') this.rings.push(given as unknown as VringAddresses);
  };

  /** The guest's address of one of the host's. */
  inGuest(address: bigint): bigint {
    const slot = this.slots.find(
      ({ hostAddress, byteLength }) => address >= hostAddress && address < hostAddress + byteLength,
    );
    return slot ? address - slot.hostAddress + slot.guestAddress : assert.fail(String(address));
  }
}

describeWith(['kvm', 'vhost', 'tun', 'root'], 'a machine with memory beyond 4 GiB', () => {
  const places = new Places();
  let network: TestNetwork;
  let networked: NetworkedGuest;

  before(async function () {
    this.timeout(BOOT);
    subscribe('vhost-net:ioctl', places.note);
    network = new TestNetwork();
    // Nobody touches most of it: the host has not so much.
    networked = await NetworkedGuest.boot(network, {}, { memoryMiB: 4096 });
  });

  after(async () => {
    unsubscribe('vhost-net:ioctl', places.note);
    await networked.guest.stop();
    network.close();
  });

  it('is seen by its guest as a whole', async () => {
    const info = await networked.guest.sh('cat /proc/meminfo');
    const [, kib] = /MemTotal: +(\d+) kB/.exec(info) ?? [];
    assert.ok(Number(kib) > 3900 << 10, String(kib));
  }).timeout(BOOT);

  it('has rings there, and their frames pass', async () => {
    const tables = places.rings.map(({ desc }) => places.inGuest(desc));
    assert.ok(tables.length >= 2);
    assert.ok(
      tables.every((address) => address >= FOUR_GIB),
      tables.map((address) => address.toString(16)).join(', '),
    );
    await networked.ping(200, '-i', '0.005');
  }).timeout(BOOT);
});
