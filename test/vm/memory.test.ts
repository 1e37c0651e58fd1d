import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { BOOT } from '../support/guest.js';
import { elf } from '../support/kernel-files.js';
import { TestNetwork } from '../support/network.js';
import { NetworkedGuest } from '../support/networked-guest.js';
import { describeWith } from '../support/requirements.js';
import type { IoctlMessage } from '#lib/observe';
import type { MemorySlot } from '#lib/sys/kvm';
import type { VringAddresses } from '#lib/sys/vhost-net';
import { Machine } from '#lib/vmm/machine';

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

/** Where the program below counts: in what is zero behind it, and in memory that is nobody's. */
const COUNTED = { anew: [0x00, 0x10, 0x00, 0x01], always: [0x00, 0x00, 0x10, 0x01] };

/** A kernel that counts its lives in two places, is reset once, and leaves what it counted in the first. */
const TWO_LIVES = Uint8Array.from([
  ...[0xfe, 0x04, 0x25, ...COUNTED.always], // inc byte [always]
  ...[0xfe, 0x04, 0x25, ...COUNTED.anew], // inc byte [anew]
  ...[0x8a, 0x04, 0x25, ...COUNTED.anew], // mov al, [anew]
  ...[0x80, 0x3c, 0x25, ...COUNTED.always, 2], // cmp byte [always], 2
  ...[0x75, 0x05], // jne 1f
  ...[0xe6, 0xf4, 0xf4, 0xeb, 0xfd], // out 0xf4, al; hlt; jmp
  ...[0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd], // 1: mov al, 0xfe; out 0x64, al; hlt; jmp
]);

describeWith(['kvm'], 'a machine that is reset', () => {
  let folder: string;

  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'two-lives-'));
  });
  afterEach(() => {
    fs.rmSync(folder, { recursive: true });
  });

  it('has its kernel as it was, with zeros behind it, and all other memory as the guest left it', async () => {
    const kernel = path.join(folder, 'vmlinux');
    const segment = { address: 0x1000000, bytes: TWO_LIVES, memoryLength: 0x2000 };
    fs.writeFileSync(kernel, elf(segment.address, [segment]));
    const machine = await Machine.boot({ kernel, memoryMiB: 64, onReset: 'reboot' });
    const { reason, status } = await machine.wait();
    assert.deepEqual({ reason, status }, { reason: 'exit', status: 1 });
    assert.equal(machine.statistics().cycles, 2);
  }).timeout(BOOT);
});
