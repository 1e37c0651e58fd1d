import assert from 'node:assert/strict';

import fc from 'fast-check';

import { FakeDevice } from '../../support/fake-device.js';
import { FakePlatform } from '../../support/fake-platform.js';
import { GuestDriver } from '../../support/guest-driver.js';
import type { GuestRingPlace } from '../../support/guest-driver.js';
import { PCI_MSIX_FLAGS } from '#lib/uapi/pci';
import * as virtio from '#lib/uapi/virtio-pci';
import { VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1, bit } from '#lib/uapi/virtio';
import { PciBus } from '#lib/vmm/pci-bus';
import { VirtioPciFunction } from '#lib/vmm/virtio-pci';

const HOLE = 0xe0000000;
const NOTIFY = 0x3000;
const PLACE: GuestRingPlace = { desc: 0x10000, avail: 0x11000, used: 0x12000 };
const NEEDS_RESET = virtio.VIRTIO_CONFIG_S_NEEDS_RESET;
const FEATURES_OK = virtio.VIRTIO_CONFIG_S_FEATURES_OK;
const DRIVER_OK = virtio.VIRTIO_CONFIG_S_DRIVER_OK;

describe('VirtioPciFunction', () => {
  let platform: FakePlatform;
  let device: FakeDevice;
  let bus: PciBus;
  let pci: VirtioPciFunction;
  let driver: GuestDriver;
  let failures: unknown[];
  /** What was asked of the machine and of the device, in one order. */
  let log: string[];

  beforeEach(() => {
    platform = new FakePlatform();
    log = platform.log;
    device = new FakeDevice(log);
    failures = [];
    bus = new PciBus({ start: HOLE, byteLength: 0x1000000 });
    pci = new VirtioPciFunction({
      device,
      interrupts: platform,
      doorbells: platform,
      onFailure: (error) => failures.push(error),
    });
    bus.add(pci);
    driver = new GuestDriver(bus, platform);
    driver.probe();
  });
  afterEach(() => {
    pci.close();
    device.close();
    assert.equal(platform.lines, 0);
    assert.deepEqual(platform.bells, []);
  });

  function begin(features = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_F_RING_RESET)): void {
    driver.negotiate(() => features);
    driver.enableMsix();
    for (let vector = 0; vector < driver.vectors; vector++) driver.setVector(vector, 0x40 + vector);
    driver.setCommon(virtio.VIRTIO_PCI_COMMON_MSIX, 2, 0);
    for (const queue of [0, 1, 2]) driver.setUpQueue(queue, 128, PLACE, queue + 1);
    driver.driverOk();
    log.length = 0;
  }

  const queue16 = (offset: number, queue = 0) => {
    driver.select(queue);
    return driver.common(offset, 2);
  };

  describe('what Linux looks for', () => {
    it('is a modern network device with every structure, in one BAR', () => {
      assert.equal(driver.readConfig(0, 4), 0x10411af4);
      assert.equal(driver.readConfig(8, 1), 1);
      assert.equal(driver.barBytes, 0x8000);
      assert.deepEqual([...driver.areas.keys()], [1, 2, 3, 4, 5]);
      for (const [type, { bar, offset, byteLength }] of driver.areas) {
        assert.equal(bar, 0);
        assert.ok(type === virtio.VIRTIO_PCI_CAP_PCI_CFG || byteLength > 0);
        assert.ok(offset + byteLength <= driver.barBytes);
      }
      assert.equal(driver.notifyMultiplier, 4);
      assert.equal(driver.vectors, 4, 'one for each queue and one for the configuration');
    });

    it('has the queues of the device, with their sizes, vectors and doorbells', () => {
      assert.equal(driver.common(virtio.VIRTIO_PCI_COMMON_NUMQ, 2), 3);
      assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_SIZE), 256);
      assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_SIZE, 3), 0, 'no queue 3');
      assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_MSIX), 0xffff);
      assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_NOFF, 2), 2);
      assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_NDATA, 2), 2);
      assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_RESET), 0);
    });

    it('shows the configuration by bytes, words and double words, and nothing behind it', () => {
      assert.equal(driver.device(0, 1), 1);
      assert.equal(driver.device(6, 2), 0x0807);
      assert.equal(driver.device(17, 2), 0x1312);
      assert.equal(driver.device(18, 4), 0);
      bus.memory.write(driver.address(virtio.VIRTIO_PCI_CAP_DEVICE_CFG, 18), 4, 1);
      bus.memory.write(driver.address(virtio.VIRTIO_PCI_CAP_DEVICE_CFG, 16), 4, 1);
      assert.deepEqual(log, ['config 16 4 1']);
    });

    it('reads registers in any width and place the same', () => {
      begin();
      driver.select(1);
      const bytes = Array.from({ length: 60 }, (_, at) => driver.common(at, 1));
      for (let at = 0; at + 4 <= 60; at++) {
        const [a = 0, b = 0, c = 0, d = 0] = bytes.slice(at);
        assert.equal(driver.common(at, 2), a + b * 0x100);
        assert.equal(driver.common(at, 4), a + b * 0x100 + c * 0x10000 + d * 0x1000000);
      }
    });

    it('can be driven through the window in configuration space with the BAR off', () => {
      driver.setCommand(0);
      assert.equal(driver.window(virtio.VIRTIO_PCI_COMMON_NUMQ, 2), 3);
      driver.setWindow(virtio.VIRTIO_PCI_COMMON_STATUS, 1, 1);
      driver.setWindow(virtio.VIRTIO_PCI_COMMON_STATUS, 1, 3);
      assert.equal(driver.window(virtio.VIRTIO_PCI_COMMON_STATUS, 1), 3);
      driver.setWindow(NOTIFY + 4, 2, 1);
      assert.equal(device.kicks[1]?.drain(), 1);
    });

    it('shows nothing through a window that is not on the BAR', () => {
      driver.setWindow(0x8000, 4, 1);
      driver.setWindow(0x7ffe, 4, 1);
      driver.setWindow(virtio.VIRTIO_PCI_COMMON_STATUS, 3, 1);
      driver.setWindow(0xffffffff, 1, 1);
      assert.equal(driver.status, 0);
    });
  });

  describe('features', () => {
    it('are refused when the driver wants one that is not offered, in whatever word', () => {
      for (const [word, value] of [
        [0, 1 << 6],
        [1, 1 | (1 << 20)],
        [2, 1],
        [0xffffffff, 1],
      ] as const) {
        driver.reset();
        driver.status = 3;
        driver.setCommon(virtio.VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
        driver.setCommon(virtio.VIRTIO_PCI_COMMON_GF, 4, 1);
        driver.setCommon(virtio.VIRTIO_PCI_COMMON_GFSELECT, 4, word);
        driver.setCommon(virtio.VIRTIO_PCI_COMMON_GF, 4, value);
        driver.addStatus(FEATURES_OK);
        assert.equal(driver.status, 3, `word ${String(word)}`);
      }
    });

    it('are refused without version 1, and when the device does not work with them', () => {
      for (const features of [0n, bit(5), bit(VIRTIO_F_VERSION_1) | bit(1)]) {
        assert.throws(() => driver.negotiate(() => features), /refused/);
      }
      driver.negotiate(() => bit(VIRTIO_F_VERSION_1) | bit(1) | bit(5));
    });

    it('are fixed from FEATURES_OK on', () => {
      driver.negotiate(() => bit(VIRTIO_F_VERSION_1));
      driver.setCommon(virtio.VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
      driver.setCommon(virtio.VIRTIO_PCI_COMMON_GF, 4, 1 << 5);
      assert.equal(driver.common(virtio.VIRTIO_PCI_COMMON_GF, 4), 0);
    });

    it('offers nothing beyond 64 bits', () => {
      driver.setCommon(virtio.VIRTIO_PCI_COMMON_DFSELECT, 4, 2);
      assert.equal(driver.common(virtio.VIRTIO_PCI_COMMON_DF, 4), 0);
    });
  });

  describe('the status', () => {
    it('starts the device inside the write of DRIVER_OK, and then places the doorbells', () => {
      begin();
      driver.reset();
      log.length = 0;
      driver.negotiate(() => bit(VIRTIO_F_VERSION_1));
      driver.setUpQueue(0, 128, PLACE, 1);
      driver.driverOk();
      const at = HOLE + NOTIFY;
      assert.deepEqual(log, [
        'start 0x100000000 [0]',
        `assign 0x${at.toString(16)}`,
        `assign 0x${(at + 4).toString(16)}`,
      ]);
      assert.deepEqual(device.places[0], {
        index: 0,
        size: 128,
        desc: PLACE.desc,
        avail: PLACE.avail,
        used: PLACE.used,
        call: platform.attachedFor(0x41),
      });
    });

    it('stops the device, and takes the doorbells away, before it reads 0', () => {
      begin();
      driver.status = 0;
      assert.deepEqual(
        log.map((line) => line.split(' ')[0]),
        ['stop', 'deassign', 'deassign'],
      );
      assert.equal(driver.status, 0);
      for (const queue of [0, 1, 2]) {
        assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_ENABLE, queue), 0);
        assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_SIZE, queue), 256);
        assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_MSIX, queue), 0xffff);
      }
      assert.equal(driver.common(virtio.VIRTIO_PCI_COMMON_MSIX, 2), 0xffff);
      assert.equal(pci.statistics().resets, 2);
    });

    it('does not start without FEATURES_OK, and not twice', () => {
      driver.status = 3;
      driver.status = 3 | DRIVER_OK;
      assert.equal(driver.status, 3);
      assert.deepEqual(log, []);
      begin();
      driver.driverOk();
      assert.deepEqual(log, []);
    });

    it('does not lose bits that a driver leaves out', () => {
      begin();
      driver.status = 1;
      assert.equal(driver.status, 0xf);
    });

    it('asks for a reset, by an interrupt, when the device can not start', () => {
      device.refusal = new Error('no');
      begin();
      assert.equal(driver.status, 0xf | NEEDS_RESET);
      assert.equal(platform.deliver(0x40), 1);
      assert.equal(driver.isr(), 2);
      assert.equal(driver.isr(), 0, 'reading takes it');
      assert.deepEqual(failures, [device.refusal]);
      assert.deepEqual(platform.bells, []);
      device.refusal = undefined;
      begin();
      assert.equal(driver.status, 0xf);
    });

    it('does not start a device that may not write to memory, and says so', () => {
      driver.setCommand(2);
      begin();
      assert.equal(device.running, false);
      assert.ok(driver.status & NEEDS_RESET);
      driver.setCommand(6);
      begin();
      assert.equal(device.running, true);
    });

    it('stops the device when it may not write to memory any more', () => {
      begin();
      driver.setCommand(2);
      assert.equal(log[0], 'stop');
      assert.ok(driver.status & NEEDS_RESET);
      assert.equal(platform.deliver(0x40), 0, 'an interrupt is a write as well');
      driver.setCommand(6);
      assert.equal(device.running, false);
      begin();
      assert.equal(driver.status, 0xf);
    });

    it('stops the device when the driver gives up', () => {
      begin();
      driver.addStatus(virtio.VIRTIO_CONFIG_S_FAILED);
      assert.equal(log[0], 'stop');
      assert.deepEqual(platform.bells, []);
      driver.driverOk();
      assert.equal(device.running, false);
    });
  });

  describe('queues', () => {
    it('take no size that is none, and nothing while they are enabled', () => {
      driver.negotiate(() => bit(VIRTIO_F_VERSION_1));
      driver.select(0);
      for (const size of [0, 3, 512, 0xffff]) {
        driver.setCommon(virtio.VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
        assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_SIZE), 256);
      }
      driver.setUpQueue(0, 64, PLACE, 1);
      driver.setUpQueue(0, 32, { ...PLACE, desc: 0x999000 }, 1);
      assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_SIZE), 64);
      assert.equal(driver.common(virtio.VIRTIO_PCI_COMMON_Q_DESCLO, 4), PLACE.desc);
    });

    it('have no vector that the table does not have', () => {
      driver.select(0);
      driver.setCommon(virtio.VIRTIO_PCI_COMMON_Q_MSIX, 2, 4);
      assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_MSIX), 0xffff);
      driver.setCommon(virtio.VIRTIO_PCI_COMMON_MSIX, 2, 4);
      assert.equal(driver.common(virtio.VIRTIO_PCI_COMMON_MSIX, 2), 0xffff);
    });

    it('are reset one by one, back to the beginning, when that was agreed on', () => {
      begin();
      driver.resetQueue(1);
      assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_MSIX, 1), 0xffff);
      driver.setUpQueue(1, 64, PLACE, 2);
      assert.deepEqual(log, ['stop queue 1', 'start queue 1']);
      log.length = 0;
      begin(bit(VIRTIO_F_VERSION_1));
      driver.select(1);
      driver.setCommon(virtio.VIRTIO_PCI_COMMON_Q_RESET, 2, 1);
      assert.deepEqual(log, []);
      assert.equal(queue16(virtio.VIRTIO_PCI_COMMON_Q_ENABLE, 1), 1);
    });

    it('need a reset of the device when one can not be taken again', () => {
      begin();
      driver.resetQueue(1);
      device.refusal = new Error('no');
      driver.setUpQueue(1, 64, PLACE, 2);
      assert.ok(driver.status & NEEDS_RESET);
      assert.equal(device.running, false);
    });

    it('change their vector while they run, and interrupt once for what came meanwhile', () => {
      begin();
      driver.select(1);
      driver.setCommon(virtio.VIRTIO_PCI_COMMON_Q_MSIX, 2, 0xffff);
      driver.setCommon(virtio.VIRTIO_PCI_COMMON_Q_MSIX, 2, 3);
      assert.deepEqual(log, ['call 1 none', 'call 1 set']);
      assert.equal(platform.deliver(0x43), 1);
    });
  });

  describe('doorbells', () => {
    it('stay in the kernel, but for the queue that is served here', () => {
      begin();
      for (const queue of [0, 1, 2]) driver.notify(queue);
      assert.equal(driver.exits, 1);
      assert.deepEqual(log, ['notify 2']);
      assert.equal(device.kicks[0]?.drain(), 1);
    });

    it('are taken in user space as well, and counted, in any width', () => {
      begin();
      for (const size of [1, 2, 4]) bus.memory.write(driver.doorbell(1), size, 1);
      assert.equal(device.kicks[1]?.drain(), 3);
      assert.equal(pci.statistics().notifications, 3);
      bus.memory.write(HOLE + NOTIFY + 12, 2, 3);
      assert.equal(pci.statistics().notifications, 3, 'there is no queue 3');
    });

    it('follow the BAR, and are gone while it does not answer', () => {
      begin();
      driver.moveBar(0xd0000000);
      assert.deepEqual(
        log.map((line) => line.split(' ').join(' ')),
        [
          `deassign 0x${(HOLE + NOTIFY + 4).toString(16)}`,
          `deassign 0x${(HOLE + NOTIFY).toString(16)}`,
          'assign 0xd0003000',
          'assign 0xd0003004',
        ],
      );
      driver.setCommand(4);
      assert.deepEqual(platform.bells, []);
      assert.equal(device.running, true);
      assert.equal(pci.statistics().doorbells, 0);
    });

    it('stay where they are while configuration space is written for other reasons', () => {
      begin();
      driver.writeConfig(0x3c, 1, 5);
      driver.setCommand(0x406);
      assert.deepEqual(log, []);
    });

    it('come to user space where the machine has others at that place', () => {
      const other = new FakeDevice([]);
      const second = new VirtioPciFunction({
        device: other,
        interrupts: platform,
        doorbells: platform,
        onFailure: (error) => failures.push(error),
      });
      bus.add(second);
      begin();
      const intruder = new GuestDriver(bus, platform, 2);
      intruder.probe();
      intruder.negotiate(() => bit(VIRTIO_F_VERSION_1));
      intruder.driverOk();
      intruder.moveBar(HOLE);
      assert.equal(second.statistics().doorbells, 0);
      assert.equal(second.statistics().doorbellsRefused, 2);
      assert.deepEqual(failures, []);
      second.close();
      other.close();
    });
  });

  describe('interrupts', () => {
    it('of the configuration come with a new generation, while a driver is there', () => {
      device.transport?.configChanged();
      assert.equal(pci.statistics().configInterrupts, 0);
      begin();
      const generation = driver.common(virtio.VIRTIO_PCI_COMMON_CFGGENERATION, 1);
      device.transport?.configChanged();
      assert.equal(driver.common(virtio.VIRTIO_PCI_COMMON_CFGGENERATION, 1), generation + 1);
      assert.equal(platform.deliver(0x40), 1);
      assert.equal(driver.isr(), 2);
    });

    it('are pending while the function is masked, and come when it is not', () => {
      begin();
      const at = driver.msixAt + PCI_MSIX_FLAGS;
      driver.writeConfig(at, 2, 0xc000);
      device.transport?.configChanged();
      assert.ok(driver.isPending(0));
      driver.writeConfig(at, 2, 0x8000);
      assert.equal(platform.deliver(0x40), 1);
    });

    it('that were pending are forgotten in a reset', () => {
      begin();
      driver.maskVector(0, true);
      device.transport?.configChanged();
      driver.reset();
      assert.ok(!driver.isPending(0));
      assert.equal(driver.isr(), 0);
    });
  });

  it('is after a reset of the bus as it was at first', () => {
    begin();
    driver.moveBar(0xd0000000);
    bus.reset();
    assert.equal(device.running, false);
    assert.equal(driver.readConfig(0x10, 4), HOLE);
    assert.equal(driver.readConfig(4, 2), 0);
    driver.probe();
    begin();
    assert.ok(device.running);
  });

  describe('whatever a guest does', () => {
    const size = fc.constantFrom(1, 2, 4);
    const value = fc.oneof(
      fc.constantFrom(0, 1, 3, 7, 0xb, 0xf, 0xffff, 0xffffffff),
      fc.integer({ min: 0, max: 0xffffffff }),
    );
    const config = fc.record({
      kind: fc.constant('config'),
      at: fc.integer({ min: 0xcf0, max: 0xd02 }),
      size,
      value,
    });
    /** Mostly the registers; the rest of the BAR and what is around it now and then. */
    const place = fc.oneof(
      { weight: 4, arbitrary: fc.integer({ min: 0, max: 0x40 }) },
      { weight: 2, arbitrary: fc.integer({ min: 0x4000, max: 0x4048 }) },
      { weight: 1, arbitrary: fc.integer({ min: 0x2ff8, max: 0x3010 }) },
      { weight: 1, arbitrary: fc.integer({ min: -16, max: 0x8010 }) },
    );
    const memory = fc.record({ kind: fc.constant('memory'), at: place, size, value });
    const accesses = fc.array(
      fc.tuple(
        fc.boolean(),
        fc.oneof({ weight: 1, arbitrary: config }, { weight: 3, arbitrary: memory }),
      ),
      { maxLength: 200 },
    );

    it('throws nothing, answers what fits the width, and leaves a device that works', () => {
      fc.assert(
        fc.property(accesses, (list) => {
          bus.reset();
          driver.probe();
          begin();
          for (const [writes, access] of list) {
            const on = access.kind === 'config' ? bus.ports : bus.memory;
            const at = access.kind === 'config' ? access.at : HOLE + access.at;
            if (writes) on.write(at, access.size, access.value);
            else {
              const answer = on.read(at, access.size);
              assert.ok(Number.isInteger(answer) && answer >= 0 && answer < 2 ** (8 * access.size));
            }
          }
          bus.reset();
          assert.deepEqual(platform.bells, []);
          assert.equal(device.running, false);
          driver.probe();
          begin();
          assert.ok(device.running);
          device.transport?.configChanged();
          driver.notify(0);
        }),
        { numRuns: 300 },
      );
    });
  });
});
