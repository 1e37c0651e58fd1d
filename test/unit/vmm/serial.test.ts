import assert from 'node:assert/strict';

import { Random } from '../../support/random.js';
import { Serial } from '#lib/vmm/serial';

const DATA = 0x3f8;
const ENABLE = 0x3f9;
const IDENTITY = 0x3fa;
const LINE_CONTROL = 0x3fb;
const MODEM_CONTROL = 0x3fc;
const LINE_STATUS = 0x3fd;
const MODEM_STATUS = 0x3fe;
const SCRATCH = 0x3ff;

class Line {
  readonly sent: number[] = [];
  readonly levels: boolean[] = [];
  readonly serial = new Serial({
    transmit: (byte) => this.sent.push(byte),
    interrupt: (level) => this.levels.push(level),
  });

  get level(): boolean {
    return this.levels.at(-1) ?? false;
  }

  read(port: number): number {
    return this.serial.read(port);
  }

  write(port: number, value: number): void {
    this.serial.write(port, 1, value);
  }

  /** As a driver opens it: FIFO on, the interrupt let through, both causes enabled. */
  open(): this {
    this.write(IDENTITY, 0x01);
    this.write(MODEM_CONTROL, 0x0b);
    this.write(ENABLE, 0x03);
    return this;
  }
}

describe('a serial line', () => {
  it('sends what is written, and is ready for more at once', () => {
    const line = new Line();
    for (const byte of Buffer.from('hello')) line.write(DATA, byte);
    assert.deepEqual(line.sent, [...Buffer.from('hello')]);
    assert.equal(line.read(LINE_STATUS), 0x60);
  });

  it('is a 16550A: with the FIFO on, its identity has both upper bits', () => {
    const line = new Line();
    assert.equal(line.read(IDENTITY), 0x01);
    line.write(IDENTITY, 0x01);
    assert.equal(line.read(IDENTITY), 0xc1);
  });

  it('says that it is empty by an interrupt when a driver asks to be told', () => {
    const line = new Line();
    line.write(MODEM_CONTROL, 0x08);
    line.write(ENABLE, 0x02);
    assert.equal(line.level, true);
    assert.equal(line.read(IDENTITY), 0x02);
    assert.equal(line.level, false);
    assert.equal(line.read(IDENTITY), 0x01);
  });

  it('says so again after each burst, with one edge for all of its bytes', () => {
    const line = new Line().open();
    line.read(IDENTITY);
    line.levels.length = 0;
    for (const byte of Buffer.from('sixteen bytes ..')) line.write(DATA, byte);
    assert.deepEqual(line.levels, [true]);
    assert.equal(line.read(IDENTITY) & 0x0f, 0x02);
    assert.deepEqual(line.levels, [true, false]);
  });

  it('interrupts for what came in until all of it was read', () => {
    const line = new Line().open();
    line.read(IDENTITY);
    line.serial.receive(Buffer.from('ab'));
    assert.equal(line.level, true);
    assert.equal(line.read(IDENTITY), 0xc4);
    assert.equal(line.read(LINE_STATUS), 0x61);
    assert.equal(line.read(DATA), 0x61);
    assert.equal(line.level, true);
    assert.equal(line.read(DATA), 0x62);
    assert.equal(line.level, false);
    assert.equal(line.read(LINE_STATUS), 0x60);
  });

  it('keeps its interrupt to itself until OUT2 lets it through', () => {
    const line = new Line();
    line.write(ENABLE, 0x02);
    assert.equal(line.level, false);
    line.write(MODEM_CONTROL, 0x08);
    assert.equal(line.level, true);
  });

  it('hides data and interrupts behind the divisor latch', () => {
    const line = new Line();
    line.write(LINE_CONTROL, 0x83);
    line.write(DATA, 0x0c);
    line.write(ENABLE, 0x01);
    assert.deepEqual([line.read(DATA), line.read(ENABLE)], [0x0c, 0x01]);
    line.write(LINE_CONTROL, 0x03);
    assert.deepEqual([line.read(DATA), line.read(ENABLE)], [0, 0]);
    assert.deepEqual(line.sent, []);
  });

  it('turns its outputs round in a loop, as drivers probe for it', () => {
    const line = new Line();
    assert.equal(line.read(MODEM_STATUS), 0xb0);
    line.write(MODEM_CONTROL, 0x1a);
    assert.equal(line.read(MODEM_STATUS) & 0xf0, 0x90);
    line.write(DATA, 0x55);
    assert.deepEqual(line.sent, []);
    assert.equal(line.read(DATA), 0x55);
  });

  it('remembers its scratch register, and forgets it with a reset', () => {
    const line = new Line().open();
    line.write(SCRATCH, 0xa5);
    assert.equal(line.read(SCRATCH), 0xa5);
    line.serial.receive(Buffer.from('x'));
    line.serial.reset();
    assert.equal(line.level, false);
    assert.equal(line.read(SCRATCH), 0);
  });

  it('loses what nobody reads beyond 64 KiB, and nothing before', () => {
    const line = new Line();
    line.serial.receive(new Uint8Array(100_000).fill(1));
    let count = 0;
    for (; (line.read(LINE_STATUS) & 1) !== 0; count++) line.read(DATA);
    assert.equal(count, 65536);
  });

  it('holds no more of a loop than a FIFO does, and what was typed waits for its end', () => {
    const line = new Line();
    line.serial.receive(Buffer.from('typed'));
    line.write(MODEM_CONTROL, 0x10);
    for (let byte = 0; byte < 100_000; byte++) line.write(DATA, byte);
    const looped = [];
    while ((line.read(LINE_STATUS) & 1) !== 0) looped.push(line.read(DATA));
    assert.deepEqual(looped, [...Array(16).keys()]);
    line.write(MODEM_CONTROL, 0);
    assert.equal(line.read(DATA), 't'.charCodeAt(0));
  });

  it('forgets a loop with a reset, and nothing of what was typed', () => {
    const line = new Line();
    line.write(MODEM_CONTROL, 0x10);
    line.write(DATA, 0x55);
    line.serial.reset();
    assert.equal(line.read(LINE_STATUS) & 1, 0);
    line.serial.receive(Buffer.from('x'));
    line.serial.reset();
    assert.equal(line.read(DATA), 'x'.charCodeAt(0));
  });

  it('survives a guest that writes and reads anything anywhere', () => {
    const random = new Random(1);
    const line = new Line();
    for (let i = 0; i < 100_000; i++) {
      const port = DATA + random.below(8);
      if (random.chance(0.6)) line.serial.write(port, 1 << random.below(3), random.below(2 ** 32));
      else {
        const answer = line.read(port);
        assert.ok(Number.isInteger(answer) && answer >= 0 && answer <= 0xff);
      }
    }
    line.serial.reset();
    line.open().write(DATA, 0x55);
    assert.equal(line.sent.at(-1), 0x55);
  });
});
