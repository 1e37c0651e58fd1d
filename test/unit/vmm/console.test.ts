import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Writable } from 'node:stream';

import { Console } from '#lib/vmm/console';

const DATA = 0x3f8;
const MIB = 1 << 20;

/** A reader that takes nothing until it is let. */
class SlowReader extends Writable {
  taken = 0;
  #go: (() => void) | undefined;
  #open = false;

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.taken += chunk.length;
    if (this.#open) done();
    else this.#go = done;
  }

  open(): void {
    this.#open = true;
    this.#go?.();
  }
}

describe('a console', () => {
  const line = 'x'.repeat(511) + '\n';
  let told: number;
  let output: SlowReader;
  let console: Console;

  beforeEach(() => {
    told = 0;
    output = new SlowReader();
    console = new Console(
      { output },
      { setLine: () => undefined, output: (bytes) => (told += bytes.length) },
    );
  });

  function write(bytes: number): void {
    for (let i = 0; i < bytes; i++) console.serial.write(DATA, 1, line.charCodeAt(i % 512));
  }

  it('keeps what a slow output does not take, and passes it on when it does', async () => {
    write(MIB / 2);
    assert.equal(output.taken, 512);
    output.open();
    while (output.taken < MIB / 2) await once(output, 'drain');
    write(512);
    console.close();
    assert.equal(output.taken, MIB / 2 + 512);
    assert.equal(console.lost, 0);
  });

  it('holds no more than that however short the lines are that a guest writes', () => {
    global.gc?.();
    const before = process.memoryUsage();
    for (let i = 0; i < MIB; i++) console.serial.write(DATA, 1, 0x0a);
    global.gc?.();
    const after = process.memoryUsage();
    const held = after.heapUsed + after.external - before.heapUsed - before.external;
    assert.equal(told, MIB);
    assert.ok(held < 8 * MIB, `${String(held)} bytes for 1 MiB of empty lines`);
  }).timeout(20_000);

  it('holds no more than 1 MiB for an output that takes nothing, and counts what is lost', () => {
    write(4 * MIB);
    assert.ok(output.writableLength <= 65536, String(output.writableLength));
    assert.ok(console.lost >= 3 * MIB - 65536 && console.lost < 3 * MIB, String(console.lost));
    assert.equal(told, 4 * MIB, 'listeners get all of it');
    console.close();
    assert.equal(output.listenerCount('drain'), 0);
  });
});
