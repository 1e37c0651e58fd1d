import assert from 'node:assert/strict';

import { FakeDevice } from '../../support/fake-device.js';
import { FakePlatform } from '../../support/fake-platform.js';
import { GuestDriver } from '../../support/guest-driver.js';
import { Random } from '../../support/random.js';
import { VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1, bit } from '#lib/uapi/virtio';
import { PciBus } from '#lib/vmm/pci-bus';
import { VirtioPciFunction } from '#lib/vmm/virtio-pci';

/** `VHOST_DEVICE_ACCESSES=10000000` is what a release is held against. */
const ACCESSES = Number(process.env['VHOST_DEVICE_ACCESSES'] ?? 200_000);
/** What found something once is tried for ever. */
const SEEDS = [1, 42];

const HOLE = 0xe0000000;
const SIZES = [1, 2, 4];
const VALUES = [
  ...[0, 1, 2, 3, 4, 7, 8, 0xb, 0xf, 0x10, 0x40, 0x80, 0xff, 0x100, 0x406, 0x8000, 0xc000, 0xffff],
  ...[0xd0000000, HOLE, 0xfee00000, 0xffffffff],
];

/** A guest that writes and reads anything anywhere, on a device that a driver drives now and then. */
class Hostile {
  readonly platform = new FakePlatform();
  readonly device = new FakeDevice();
  readonly bus = new PciBus({ start: HOLE, byteLength: 0x1000000 });
  readonly pci: VirtioPciFunction;
  starts = 0;

  readonly #driver: GuestDriver;
  readonly #random: Random;

  constructor(seed: number) {
    this.#random = new Random(seed);
    const { device, platform } = this;
    this.pci = new VirtioPciFunction({
      device,
      interrupts: platform,
      doorbells: platform,
      onFailure: (error) => {
        throw error;
      },
    });
    this.bus.add(this.pci);
    this.#driver = new GuestDriver(this.bus, platform);
  }

  /** What a driver does; whatever came before, it works. */
  drive(): void {
    this.bus.reset();
    this.#driver.probe();
    this.#driver.negotiate(() => bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_F_RING_RESET));
    this.#driver.enableMsix();
    for (let vector = 0; vector < 4; vector++) this.#driver.setVector(vector, 0x40 + vector);
    const place = { desc: 0x10000, avail: 0x11000, used: 0x12000 };
    for (const queue of [0, 1, 2]) this.#driver.setUpQueue(queue, 128, place, queue + 1);
    this.#driver.driverOk();
    assert.ok(this.device.running);
    this.starts++;
    this.platform.log.length = this.device.log.length = 0;
  }

  access(): void {
    const random = this.#random;
    const size = random.pick(SIZES);
    const value = random.chance(0.8) ? random.pick(VALUES) : random.below(2 ** 32);
    const onPorts = random.chance(0.2);
    const bus = onPorts ? this.bus.ports : this.bus.memory;
    const at = onPorts ? this.#port() : this.#address();
    if (random.chance(0.6)) bus.write(at, size, value);
    else {
      const answer = bus.read(at, size);
      assert.ok(Number.isInteger(answer) && answer >= 0 && answer < 2 ** (8 * size));
    }
  }

  close(): void {
    this.bus.reset();
    assert.equal(this.device.running, false);
    assert.deepEqual(this.platform.bells, []);
    this.pci.close();
    assert.equal(this.platform.lines, 0);
    this.device.close();
  }

  /** A port; before that, now and then, the address of some double word of some function. */
  #port(): number {
    const random = this.#random;
    const word = 0x80000000 + random.below(4) * 0x800 + random.below(64) * 4;
    if (random.chance(0.5)) this.bus.ports.write(0xcf8, 4, word);
    return 0xcf8 + random.below(9);
  }

  #address(): number {
    const random = this.#random;
    if (random.chance(0.6)) return HOLE + random.below(0x40);
    if (random.chance(0.5)) return HOLE + 0x4000 + random.below(0x48);
    return HOLE + random.pick([0x1000, 0x2000, 0x3000, 0x5000, 0x7ff0, -8]) + random.below(24);
  }
}

describe('a device and a guest that means it no good', () => {
  for (const seed of SEEDS) {
    it(`survives ${String(ACCESSES)} accesses of all widths anywhere, and works whenever it is driven (seed ${String(seed)})`, () => {
      const hostile = new Hostile(seed);
      for (let i = 0; i < ACCESSES; i++) {
        if (i % 500 === 0) hostile.drive();
        hostile.access();
      }
      hostile.drive();
      hostile.close();
    }).timeout(600_000);
  }
});
