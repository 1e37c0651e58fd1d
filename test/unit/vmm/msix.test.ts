import assert from 'node:assert/strict';

import { FakePlatform } from '../../support/fake-platform.js';
import { MsixTable } from '#lib/vmm/msix';

const CONTROL = 12;
const DATA = 8;

describe('MsixTable', () => {
  let platform: FakePlatform;
  let table: MsixTable;

  beforeEach(() => {
    platform = new FakePlatform();
    table = new MsixTable(3, platform);
  });
  afterEach(() => {
    table.close();
    assert.equal(platform.lines, 0);
  });

  function entry(index: number, data: number, masked = false): void {
    table.write(16 * index, 4, 0xfee01000);
    table.write(16 * index + 4, 4, 0);
    table.write(16 * index + DATA, 4, data);
    table.write(16 * index + CONTROL, 4, Number(masked));
  }

  const signal = (index: number) => table.event(index)?.signal();
  const pending = () => table.readPending(0, 4);

  it('begins with every entry masked, and attaches nothing', () => {
    table.control(true, false);
    for (const index of [0, 1, 2]) assert.equal(table.read(16 * index + CONTROL, 4), 1);
    assert.deepEqual(platform.log, []);
  });

  it('routes a message before it attaches the eventfd', () => {
    table.control(true, false);
    entry(1, 0x41);
    assert.deepEqual(platform.log, ['route 25 0xfee01000 65', 'attach 25']);
    signal(1);
    assert.equal(platform.deliver(0x41), 1);
  });

  it('keeps what is signalled while masked as the pending bit, and delivers it once', () => {
    table.control(true, false);
    entry(1, 0x41);
    table.write(16 + CONTROL, 4, 1);
    signal(1);
    signal(1);
    assert.equal(pending(), 2);
    assert.equal(pending(), 2, 'looking does not consume it');
    assert.equal(platform.deliver(0x41), 0);
    table.write(16 + CONTROL, 4, 0);
    assert.equal(platform.deliver(0x41), 1);
    assert.equal(pending(), 0);
  });

  it('has nothing pending that the kernel has only to take', () => {
    table.control(true, false);
    entry(1, 0x41);
    signal(1);
    assert.equal(pending(), 0);
    assert.equal(platform.deliver(0x41), 1);
  });

  it('delivers what was pending with the message that is there when it is unmasked', () => {
    table.control(true, false);
    entry(1, 0x41);
    table.write(16 + CONTROL, 4, 1);
    signal(1);
    entry(1, 0x52);
    assert.equal(platform.deliver(0x41), 0);
    assert.equal(platform.deliver(0x52), 1);
  });

  it('does not route again what is the same, and routes at once what changes unmasked', () => {
    table.control(true, false);
    entry(1, 0x41);
    table.write(16 + CONTROL, 4, 1);
    table.write(16 + CONTROL, 4, 0);
    table.write(16 + DATA, 4, 0x42);
    assert.deepEqual(
      platform.log.map((line) => line.split(' ')[0]),
      ['route', 'attach', 'detach', 'attach', 'route'],
    );
    assert.deepEqual(table.statistics(), { masked: 1, unmasked: 2, refused: 0 });
  });

  it('masks all of them by the function mask and by being disabled, and delivers after both', () => {
    table.control(true, false);
    entry(0, 0x40);
    entry(2, 0x42);
    for (const off of [() => table.control(true, true), () => table.control(false, false)]) {
      off();
      signal(0);
      signal(2);
      assert.equal(pending(), 5);
      table.control(true, false);
      assert.equal(pending(), 0);
    }
    assert.equal(platform.deliver(0x40), 2);
    assert.equal(platform.deliver(0x42), 2);
  });

  it('leaves a vector pending whose message the machine refuses', () => {
    table.control(true, false);
    entry(1, 0xbad);
    signal(1);
    assert.equal(pending(), 2);
    assert.equal(table.statistics().refused, 1);
    entry(1, 0x41);
    assert.equal(platform.deliver(0x41), 1);
  });

  it('keeps a vector pending that is held from outside, whatever the guest does with it', () => {
    table.control(true, false);
    entry(1, 0x41);
    table.hold(1, true);
    signal(1);
    table.write(16 + CONTROL, 4, 1);
    table.write(16 + CONTROL, 4, 0);
    assert.equal(table.read(16 + CONTROL, 4), 0, 'the guest sees what it wrote');
    assert.equal(pending(), 2);
    table.hold(1, false);
    assert.equal(pending(), 0);
    assert.equal(platform.deliver(0x41), 1);
  });

  it('delivers nothing of a vector that is let go of while the guest has it masked', () => {
    table.control(true, false);
    entry(1, 0x41);
    table.hold(1, true);
    signal(1);
    table.write(16 + CONTROL, 4, 1);
    table.hold(1, false);
    assert.equal(platform.deliver(0x41), 0);
    table.write(16 + CONTROL, 4, 0);
    assert.equal(platform.deliver(0x41), 1);
  });

  it('takes double words only, and no more than there are', () => {
    table.write(DATA, 2, 0x1234);
    table.write(DATA + 2, 4, 0x1234);
    table.write(48, 4, 0x1234);
    table.write(CONTROL, 4, 0xfffffffe);
    assert.equal(table.read(DATA, 4), 0);
    assert.equal(table.read(DATA, 2), 0);
    assert.equal(table.read(DATA + 2, 4), 0);
    assert.equal(table.read(48, 4), 0);
    assert.equal(table.read(CONTROL, 4), 0, 'only the mask bit is there');
    assert.equal(table.readPending(8, 4), 0);
    assert.equal(table.event(3), undefined);
  });

  it('forgets everything in a reset', () => {
    table.control(true, false);
    entry(1, 0x41);
    table.write(16 + CONTROL, 4, 1);
    signal(1);
    table.reset();
    assert.equal(pending(), 0);
    assert.equal(table.read(16 + DATA, 4), 0);
    assert.equal(table.read(16 + CONTROL, 4), 1);
    table.control(true, false);
    assert.equal(platform.deliver(0x41), 0);
  });

  it('detaches what is attached when it is closed', () => {
    table.control(true, false);
    entry(1, 0x41);
    table.close();
    assert.equal(platform.log.at(-1), 'detach 25');
  });
});
