import assert from 'node:assert/strict';

import { GuestMemory } from '#lib/memory/guest-memory';
import { ringAddresses, ringProgress } from '#lib/vmm/guest-rings';

describe('ringAddresses()', () => {
  const PAGE = 4096;
  const region = (guestAddress: number, hostAddress: bigint) => ({
    guestAddress,
    hostAddress,
    buffer: new ArrayBuffer(4 * PAGE),
    byteLength: 4 * PAGE,
  });
  // Next to each other for the guest, and far apart for the kernel.
  const memory = new GuestMemory([region(0x10000, 0x7000000n), region(0x14000, 0x9000000n)]);
  const place = {
    index: 1,
    size: 256,
    desc: 0x10000,
    avail: 0x12000,
    used: 0x14000,
    call: undefined,
  };

  it('are those of this process, each part in its own region', () => {
    assert.deepEqual(ringAddresses(memory, place), {
      desc: 0x7000000n,
      avail: 0x7002000n,
      used: 0x9000000n,
    });
  });

  it('are refused where a part goes on in another region, is misaligned, or is nowhere', () => {
    for (const wrong of [
      { desc: 0x13010 },
      { avail: 0x14000 - 512 },
      { used: 0x14002 },
      { used: 0x18000 - 2048 },
      { desc: 0x10008 },
      { avail: 0x12001 },
      { desc: 0 },
      { desc: 2 ** 63 },
      { size: 32768 },
    ]) {
      assert.throws(
        () => ringAddresses(memory, { ...place, ...wrong }),
        { code: 'ERR_VHOST_QUEUE_CORRUPT' },
        JSON.stringify(wrong),
      );
    }
  });

  it('are refused where the memory itself begins at an odd place', () => {
    const odd = new GuestMemory([region(0x10008, 0x7000008n)]);
    const there = { ...place, desc: 0x10010, avail: 0x12000, used: 0x13000 };
    assert.throws(() => ringAddresses(odd, there), { code: 'ERR_VHOST_QUEUE_CORRUPT' });
  });
});

describe('ringProgress()', () => {
  /** The next of these at each look; the last again and again. */
  const looks =
    (...values: number[]) =>
    () =>
      (values.length > 1 ? values.shift() : values[0]) ?? 0;

  it('counts what waits, also where the indices have wrapped', () => {
    assert.deepEqual(ringProgress(64, looks(65_530), looks(4)), { waiting: 10, used: 65_530 });
    assert.deepEqual(ringProgress(64, looks(7), looks(71)), { waiting: 64, used: 7 });
  });

  it('does not judge what moves on while it is looked at, however far', () => {
    // A worker used 5,000 meanwhile, and the driver offered as many again.
    assert.deepEqual(ringProgress(64, looks(0, 5000), looks(5050)), { waiting: 64, used: 5000 });
  });

  it('refuses more than a ring holds where the worker stands still', () => {
    assert.throws(() => ringProgress(64, looks(7), looks(72)), {
      code: 'ERR_VHOST_QUEUE_CORRUPT',
      message: /65 chains wait in a ring of 64/,
    });
  });
});
