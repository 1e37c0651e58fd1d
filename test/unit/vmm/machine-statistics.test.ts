import assert from 'node:assert/strict';

import { Counters } from '#lib/vmm/machine-statistics';
import { PciBus } from '#lib/vmm/pci-bus';

describe('the counters of a machine', () => {
  const bus = new PciBus({ start: 0xe0000000, byteLength: 0x1000 });
  const cycle = (exits: number) => ({
    statistics: () => [{ exits: { io: exits }, calls: exits }],
    kernelStatistics: () => [{ exits: 10 * exits }, { exits: 1 }],
  });

  it('add up over all lives, and keep the last that the kernel counted', () => {
    const counters = new Counters();
    const loop = { milliseconds: 1, waits: 2, waitedMilliseconds: 3 };
    const elsewhere = { loop, consoleLost: 7, untold: 4 };
    counters.add(cycle(2));
    const running = counters.read(cycle(3), elsewhere, bus, []);
    assert.deepEqual([running.exits, running.calls, running.kvm], [{ io: 5 }, 5, { exits: 31 }]);
    counters.add(cycle(3));
    const ended = counters.read(undefined, elsewhere, bus, []);
    assert.deepEqual([ended.exits, ended.calls, ended.kvm], [{ io: 5 }, 5, { exits: 31 }]);
    assert.deepEqual([ended.loop, ended.consoleLost, ended.untold], [loop, 7, 4]);
  });
});
