import assert from 'node:assert/strict';

import { GuestMemory } from '#lib/memory/guest-memory';

function region(guestAddress: number, byteLength: number, hostAddress = 0x1000n) {
  return { guestAddress, byteLength, hostAddress, buffer: new ArrayBuffer(byteLength) };
}

describe('GuestMemory#translate()', () => {
  const low = region(0, 100);
  const high = region(0x1_0000_0000, 50, 0x9000n);
  const memory = new GuestMemory([high, low]);

  it('finds the region and the offset of an address, beyond 4 GiB too', () => {
    assert.deepEqual(memory.translate(10, 90), { region: low, offset: 10 });
    assert.deepEqual(memory.translate(0x1_0000_0031, 1), { region: high, offset: 49 });
    assert.equal(memory.hostAddress(0x1_0000_0001, 4), 0x9001n);
  });

  it('finds nothing where a byte lies outside', () => {
    for (const [address, length] of [
      [10, 91],
      [100, 1],
      [-1, 1],
      [0xffff_ffff, 2],
      [0x1_0000_0031, 2],
      [NaN, 1],
      [10, -1],
      [2 ** 60, 1],
    ] as const) {
      assert.equal(
        memory.translate(address, length),
        undefined,
        `${String(address)}+${String(length)}`,
      );
    }
    assert.throws(() => memory.hostAddress(10, 91), RangeError);
  });
});

describe('GuestMemory pins', () => {
  it('refuse to let it close, and name who holds them', () => {
    const memory = new GuestMemory([region(0, 10)]);
    const first = memory.pin('ring 1');
    const second = memory.pin('ring 2');
    first.release();
    first.release();
    assert.throws(() => memory.close(), { code: 'ERR_VHOST_MEMORY_IN_USE', message: /ring 2/ });
    assert.equal(memory.closed, false);
    second.release();
    memory.close();
    memory.close();
    assert.equal(memory.closed, true);
    assert.throws(() => memory.pin('ring 3'), { code: 'ERR_VHOST_CLOSED' });
  });
});

describe('new GuestMemory()', () => {
  it('refuses no, empty, misplaced, overlong and overlapping regions', () => {
    const overlong = { ...region(0, 10), byteLength: 11 };
    for (const regions of [
      [],
      [{ ...region(0, 10), byteLength: 0 }],
      [region(-1, 10)],
      [region(0.5, 10)],
      [region(2 ** 53, 10)],
      [overlong],
      [region(0, 10), region(9, 10)],
    ]) {
      assert.throws(() => new GuestMemory(regions), RangeError);
    }
  });
});
