import assert from 'node:assert/strict';

import { FakeDevice } from './fake-device.js';
import { FakePlatform } from './fake-platform.js';
import { GuestDriver } from './guest-driver.js';
import type { Access } from './hostile-accesses.js';
import { VhostError } from '#lib/errors';
import { GuestMemory } from '#lib/memory/guest-memory';
import { DeviceQueue } from '#lib/ring/device-queue';
import { Pages } from '#lib/sys/pages';
import { VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1, bit } from '#lib/uapi/virtio';
import { VIRTIO_CONFIG_S_DRIVER_OK } from '#lib/uapi/virtio-pci';
import { RingIndices, ringAddresses } from '#lib/vmm/guest-rings';
import {
  CMOS_PORTS,
  Cmos,
  EXIT_PORT,
  ExitPort,
  KEYBOARD_PORT,
  ResetPort,
} from '#lib/vmm/pc-devices';
import { PCI_PORTS, PciBus } from '#lib/vmm/pci-bus';
import { PortBus } from '#lib/vmm/port-bus';
import { SERIAL_PORTS, Serial } from '#lib/vmm/serial';
import type { DriverQueuePlace } from '#lib/vmm/virtio-device';
import { VirtioPciFunction } from '#lib/vmm/virtio-pci';

/** Where the first device is; the second follows it. */
export const HOLE = 0xe0000000;
const MEMORY_BYTES = 1 << 20;
const BROKEN = 0x40 | 0x80;
/** The queue that the device serves itself. */
const OWN = 2;

/** What a driver wrote that can't be true, or forgot to allow, is its own affair; anything else is ours. */
function onlyTheGuests(error: unknown): void {
  const isTheirs =
    error instanceof VhostError &&
    (error.code === 'ERR_VHOST_QUEUE_CORRUPT' || error.message === 'DRIVER_OK of no bus master');
  if (!isTheirs) throw error;
}

/** A device that takes rings as the network device does, and serves one of them. */
class RingDevice extends FakeDevice {
  served = 0;
  readonly #pages: Pages;
  readonly #memory: GuestMemory;
  #own: DeviceQueue | undefined;

  constructor(pages: Pages, memory: GuestMemory) {
    super();
    this.#pages = pages;
    this.#memory = memory;
  }

  override start(features: bigint, queues: readonly DriverQueuePlace[]): void {
    for (const queue of queues) this.#take(queue);
    super.start(features, queues);
  }

  override startQueue(queue: DriverQueuePlace): void {
    this.#take(queue);
    super.startQueue(queue);
  }

  override stop(): void {
    this.#own = undefined;
    super.stop();
  }

  override stopQueue(index: number): void {
    if (index === OWN) this.#own = undefined;
    super.stopQueue(index);
  }

  override notify(index: number): void {
    super.notify(index);
    try {
      if (index === OWN && this.#own) this.#serve(this.#own);
    } catch (error) {
      onlyTheGuests(error);
      this.transport?.needsReset();
    }
  }

  /** What the kernel would be told has to be the guest's. */
  #take(place: DriverQueuePlace): void {
    const { desc, avail, used } = ringAddresses(this.#memory, place);
    const parts = [
      [desc, 16 * place.size],
      [avail, 6 + 2 * place.size],
      [used, 6 + 8 * place.size],
    ] as const;
    const from = this.#pages.address;
    for (const [address, length] of parts) {
      assert.ok(address >= from && address + BigInt(length) <= from + BigInt(MEMORY_BYTES));
    }
    new RingIndices(this.#memory, place);
    const options = { ...place, memory: this.#memory, eventIdx: true, indirect: true };
    if (place.index === OWN) this.#own = new DeviceQueue(options);
  }

  #serve(queue: DeviceQueue): void {
    for (let n = 0; n < queue.size; n++) {
      const chain = queue.pop();
      if (!chain) return;
      for (const bytes of chain.writable) bytes.fill(0x5a);
      queue.push(chain.head, 1);
      this.served++;
    }
    queue.arm();
  }
}

/** All that a guest reaches of a machine with two devices, without KVM and vhost. */
export class HostileDevice {
  readonly platform = new FakePlatform();
  readonly bus = new PciBus({ start: HOLE, byteLength: 0x1000000 });
  readonly devices: readonly RingDevice[];
  readonly #pages = Pages.allocate({ byteLength: MEMORY_BYTES });
  readonly #bytes = new DataView(this.#pages.buffer);
  readonly #memory: GuestMemory;
  readonly #ports = new PortBus();
  readonly #functions: readonly VirtioPciFunction[];
  readonly #drivers: readonly GuestDriver[];

  constructor() {
    const { address: hostAddress, buffer } = this.#pages;
    const region = { guestAddress: 0, byteLength: MEMORY_BYTES, hostAddress, buffer };
    this.#memory = new GuestMemory([region]);
    this.devices = [1, 2].map(() => new RingDevice(this.#pages, this.#memory));
    this.#functions = this.devices.map((device) => this.#plug(device));
    this.#drivers = [1, 2].map((slot) => new GuestDriver(this.bus, this.platform, slot));
    this.#ports.add(PCI_PORTS, this.bus.ports);
    this.#ports.add(SERIAL_PORTS, new Serial({ transmit: () => 0, interrupt: () => 0 }));
    this.#ports.add(CMOS_PORTS, new Cmos());
    this.#ports.add(KEYBOARD_PORT, new ResetPort(() => 0));
    this.#ports.add(EXIT_PORT, new ExitPort(() => 0));
  }

  /** What a driver does; whatever came before, it works. */
  drive(): void {
    this.bus.reset();
    new Uint8Array(this.#pages.buffer).fill(0);
    for (const [index, driver] of this.#drivers.entries()) {
      driver.probe();
      driver.negotiate(() => bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_F_RING_RESET));
      driver.enableMsix();
      for (let vector = 0; vector < 4; vector++) driver.setVector(vector, 0x40 + vector);
      const place = { desc: 0x10000, avail: 0x11000, used: 0x12000 };
      for (const queue of [0, 1, 2]) driver.setUpQueue(queue, 128, place, queue + 1);
      driver.driverOk();
      assert.ok(this.devices[index]?.running);
    }
    this.platform.log.length = 0;
    for (const { log } of this.devices) log.length = 0;
  }

  /** Does one access; an answer has to fit. */
  do({ writes, space, at, size, value }: Access): void {
    if (space === 'ram') {
      this.#bytes.setUint32(at % (MEMORY_BYTES - 4), value, true);
      return;
    }
    const bus = space === 'port' ? this.#ports : this.bus.memory;
    if (writes) {
      bus.write(at, size, value);
      return;
    }
    const answer = bus.read(at, size);
    const fits = Number.isInteger(answer) && answer >= 0 && answer < 2 ** (8 * size);
    assert.ok(fits, `0x${answer.toString(16)} for ${String(size)} bytes`);
  }

  /** What has to be true at any moment. */
  check(): void {
    const { bells } = this.platform;
    const places = this.#functions.flatMap(({ config }, index) => {
      const running = this.devices[index]?.running ?? false;
      assert.equal(this.#runs(index), running, 'the status says what the device does');
      const bar = config.barAddress(0);
      return running && bar !== undefined ? [bar + 0x3000, bar + 0x3004] : [];
    });
    // One that was moved to where the other was has none: KVM refused them.
    assert.ok(bells.every((bell) => places.includes(bell)));
    const registered = this.#functions.map((one) => one.statistics().doorbells);
    assert.equal(
      bells.length,
      registered.reduce((sum, count) => sum + count, 0),
    );
  }

  close(): void {
    this.bus.reset();
    this.check();
    assert.deepEqual(this.platform.bells, []);
    for (const one of this.#functions) one.close();
    assert.equal(this.platform.lines, 0);
    for (const device of this.devices) device.close();
    this.#memory.close();
    this.#pages.close();
  }

  #plug(device: RingDevice): VirtioPciFunction {
    const { platform } = this;
    const pci = new VirtioPciFunction({
      device,
      interrupts: platform,
      doorbells: platform,
      onFailure: onlyTheGuests,
    });
    this.bus.add(pci);
    return pci;
  }

  #runs(index: number): boolean {
    const status = this.#functions[index]?.readBar(0, 20, 1) ?? 0;
    return (status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0 && (status & BROKEN) === 0;
  }
}
