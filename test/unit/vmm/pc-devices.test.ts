import assert from 'node:assert/strict';

import { Console } from '#lib/vmm/console';
import { Cmos, ExitPort, ResetPort, SleepPorts } from '#lib/vmm/pc-devices';
import { PortBus } from '#lib/vmm/port-bus';
import { PassThrough } from 'node:stream';
import { once } from 'node:events';

describe('the keyboard controller', () => {
  it('is not there but for a reset, and never asks to be waited for', () => {
    let resets = 0;
    const port = new ResetPort(() => resets++);
    assert.equal(port.read() & 1, 1, 'output that never ends: no controller');
    assert.equal(port.read() & 2, 0, 'no input waiting');
    port.write(0x64, 1, 0xd1);
    assert.equal(resets, 0);
    port.write(0x64, 1, 0xfe);
    assert.equal(resets, 1);
  });
});

describe('the sleep registers', () => {
  it('switch the machine off when they are told the depth that the tables name', () => {
    let offs = 0;
    const port = new SleepPorts(() => offs++);
    port.write(0x600, 1, (3 << 2) | 0x20);
    port.write(0x600, 1, 5 << 2);
    port.write(0x601, 1, (5 << 2) | 0x20);
    assert.equal(offs, 0);
    assert.equal(port.read(0x601), 0x80, 'awake');
    port.write(0x600, 1, (5 << 2) | 0x20);
    assert.equal(offs, 1);
  });
});

describe('the exit port', () => {
  it('hands over the lowest byte', () => {
    const statuses: number[] = [];
    new ExitPort((status) => statuses.push(status)).write(0xf4, 2, 0x107);
    assert.deepEqual(statuses, [7]);
  });
});

describe('the clock', () => {
  it('tells the time in decimal digits, with no update in progress', () => {
    const cmos = new Cmos(() => new Date('2026-11-09T23:58:07Z'));
    const register = (index: number) => {
      cmos.write(0x70, 1, index | 0x80);
      return cmos.read(0x71);
    };
    const time = [0, 2, 4, 6, 7, 8, 9, 0x32].map(register);
    assert.deepEqual(time, [0x07, 0x58, 0x23, 2, 0x09, 0x11, 0x26, 0x20]);
    assert.equal(register(0x0a) & 0x80, 0);
    assert.equal(register(0x0b), 0x02);
    assert.equal(register(0x0d), 0x80);
  });
});

describe('the bus of ports', () => {
  it('answers where nobody is with all ones, in any width', () => {
    const bus = new PortBus();
    assert.deepEqual(
      [1, 2, 4].map((size) => bus.read(0x80, size)),
      [0xff, 0xffff, 0xffffffff],
    );
    bus.write(0x80, 1, 0);
  });

  it('leads a range to its device, with the ports as they are', () => {
    const seen: number[] = [];
    const bus = new PortBus();
    bus.add(
      { first: 0x10, last: 0x11 },
      {
        read: (port) => port,
        write: (port, size, value) => {
          seen.push(port, size, value);
        },
      },
    );
    assert.equal(bus.read(0x11, 1), 0x11);
    assert.equal(bus.read(0x12, 1), 0xff);
    bus.write(0x10, 2, 0x1234);
    assert.deepEqual(seen, [0x10, 2, 0x1234]);
  });
});

describe('a console', () => {
  it('passes lines on at once, and the rest of one soon', async () => {
    const output = new PassThrough();
    const console = new Console({ output }, { setLine: () => undefined, output: () => undefined });
    for (const byte of Buffer.from('one\ntw')) console.serial.write(0x3f8, 1, byte);
    assert.equal(String(output.read()), 'one\n');
    const [rest] = (await once(output, 'data')) as [Buffer];
    assert.equal(String(rest), 'tw');
    console.close();
  });

  it('types what its input brings, and lets go of it at the end', async () => {
    const input = new PassThrough();
    const console = new Console({ input }, { setLine: () => undefined, output: () => undefined });
    const typed = once(input, 'data');
    input.write('ab');
    await typed;
    assert.equal(console.serial.read(0x3f8), 0x61);
    console.close();
    assert.equal(input.listenerCount('data'), 0);
    assert.equal(input.isPaused(), true);
  });
});
