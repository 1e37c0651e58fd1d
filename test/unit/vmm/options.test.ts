import assert from 'node:assert/strict';

import { Machine } from '#lib/vmm/machine';
import { DEFAULT_COMMAND_LINE, checkMachineOptions } from '#lib/vmm/options';
import type { MachineOptions } from '#lib/vmm/options';

const net = (fields: object) => ({ net: [{ backend: { tap: 'vm0' }, ...fields }] });

describe('checkMachineOptions', () => {
  it('fills in what was not said', () => {
    const { net, ...rest } = checkMachineOptions({ kernel: 'k', net: [{ backend: { tap: 'a' } }] });
    assert.deepEqual(rest, {
      ...{ kernel: 'k', initrd: undefined, commandLine: DEFAULT_COMMAND_LINE, memoryMiB: 256 },
      ...{ cpus: 1, console: {}, onReset: 'end', eventLoopShare: 0.5, signal: undefined },
    });
    assert.equal(net[0]?.queuePairs, 1);
    assert.equal(net[0].queueSize, 1024);
    assert.equal(net[0].mac.length, 6);
    assert.equal((net[0].mac[0] ?? 0) & 3, 2, 'of nobody, and of no group');
  });

  it('takes rings of any size that serves a Linux guest and vhost takes', () => {
    for (const queueSize of [256, 512, 32768]) {
      const { net: nets } = checkMachineOptions({ kernel: 'k', ...net({ queueSize }) });
      assert.equal(nets[0]?.queueSize, queueSize);
    }
  });

  for (const [what, options, complaint] of [
    ['no kernel', {}, /kernel must be a string/],
    ['an unknown option', { kernels: 'k' }, /unknown option 'kernels'/],
    ['a size that is none', { memoryMiB: 8 }, /memoryMiB must be an integer in 32/],
    ['more vCPUs than there can be', { cpus: 9 }, /cpus must be an integer in 1..8/],
    ['a card without a backend', { net: [{}] }, /backend must be an object/],
    ['a card of a group', net({ mac: '01:00:00:00:00:02' }), /mac must be six/],
    ['a card that is misspelt', net({ address: 'x' }), /unknown option 'address'/],
    ['half a queue pair', net({ queuePairs: 0.5 }), /queuePairs must be an integer/],
    ['a ring that is too short', net({ queueSize: 128 }), /queueSize must be a power of 2 in 256/],
    ['a ring that is too long', net({ queueSize: 65536 }), /queueSize must be a power of 2/],
    ['a ring of another size', net({ queueSize: 1000 }), /queueSize must be a power of 2/],
    ['a ring of text', net({ queueSize: '1024' }), /queueSize must be a power of 2/],
    ['an MTU that nobody has', net({ mtu: 12 }), /mtu must be an integer in 68/],
    ['another reset', { onReset: 'ignore' }, /onReset must be 'reboot' or 'end'/],
    ['no share of the loop', { eventLoopShare: 0 }, /eventLoopShare must be 0.01 to 1/],
    ['more than all of it', { eventLoopShare: 1.01 }, /eventLoopShare must be 0.01 to 1/],
    ['a share that is no number', { eventLoopShare: NaN }, /eventLoopShare must be 0.01 to 1/],
    ['a share in words', { eventLoopShare: '1' }, /eventLoopShare must be a number/],
    ['a signal that is none', { signal: {} }, /signal must be an AbortSignal/],
    ['another console', { console: { in: 1 } }, /unknown option 'in'/],
    [
      'an output that is a function',
      { console: { output: () => 0 } },
      /console.output must be a w/,
    ],
    ['an input that is none', { console: { input: {} } }, /console.input must be a readable/],
  ] as const) {
    it(`refuses ${what}, naming it`, async () => {
      const given = { ...(what === 'no kernel' ? {} : { kernel: '/dev/null' }), ...options };
      await assert.rejects(Machine.boot(given as unknown as MachineOptions), complaint);
    });
  }
});

describe('Machine.boot()', () => {
  it('refuses what is no kernel before it touches KVM or a tap', async () => {
    const boot = Machine.boot({ kernel: process.execPath, ...net({}) });
    await assert.rejects(boot, { code: 'ERR_VHOST_KERNEL_IMAGE' });
    await assert.rejects(Machine.boot({ kernel: '/no/such/kernel' }), { code: 'ENOENT' });
  });

  it('rejects with the reason of a signal that was aborted before', async () => {
    const signal = AbortSignal.abort(new Error('too late'));
    await assert.rejects(Machine.boot({ kernel: '/no/such/kernel', signal }), /too late/);
  });
});
