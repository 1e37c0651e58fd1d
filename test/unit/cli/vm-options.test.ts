import assert from 'node:assert/strict';

import { vmOptions } from '#lib/cli/vm-options';

describe('vhost-net vm', () => {
  it('makes options of a machine of its command line', () => {
    const args = [
      ...['--kernel', 'k', '--initrd', 'i', '--append', 'quiet', '--memory', '512', '--cpus', '1'],
      ...['--tap', 'a', '--mac', '02:00:00:00:00:02', '--tap', 'b', '--reboot', '--json'],
    ];
    assert.deepEqual(vmOptions(args), {
      json: true,
      machine: {
        ...{ kernel: 'k', initrd: 'i', commandLine: 'quiet', memoryMiB: 512, cpus: 1 },
        onReset: 'reboot',
        net: [{ backend: { tap: 'a' }, mac: '02:00:00:00:00:02' }, { backend: { tap: 'b' } }],
      },
    });
  });

  it('makes each tap a port of a bridge', () => {
    const options = vmOptions(['--kernel', 'k', '--tap', 'a', '--ovs', 'br0']);
    assert.ok(typeof options !== 'string');
    assert.deepEqual(options.machine.net, [{ backend: { tap: 'a', ovs: { bridge: 'br0' } } }]);
  });

  it('gives an address to the tap that was named last', () => {
    const options = vmOptions(['--kernel', 'k', '--tap', 'a', '--tap', 'b', '--mac', 'x']);
    assert.ok(typeof options !== 'string');
    assert.deepEqual(options.machine.net, [
      { backend: { tap: 'a' } },
      { backend: { tap: 'b' }, mac: 'x' },
    ]);
  });

  it('leaves to the machine what is not said', () => {
    assert.deepEqual(vmOptions(['--kernel', 'k']), {
      json: false,
      machine: { kernel: 'k', net: [], onReset: 'end' },
    });
  });

  for (const [args, complaint] of [
    [[], /--kernel FILE is needed/],
    [['--kernel', 'k', '--memory', '1.5'], /--memory takes a whole number, not '1.5'/],
    [['--kernel', 'k', '--cpus', '0'], /--cpus takes a whole number/],
    [['--kernel', 'k', '--ovs', 'br0'], /--ovs needs a --tap/],
    [['--kernel', 'k', '--mac', '02:00:00:00:00:02'], /each --mac needs a --tap before it/],
    [
      ['--kernel', 'k', '--tap', 'a', '--mac', 'x', '--mac', 'y', '--tap', 'b'],
      /each --mac needs a --tap before it/,
    ],
    [['--kernel', 'k', '--disk', 'd'], /Unknown option '--disk'/],
    [['--kernel', 'k', 'further'], /Unexpected argument 'further'/],
  ] as const) {
    it(`complains of ${JSON.stringify(args)}`, () => {
      const answer = vmOptions(args);
      assert.match(typeof answer === 'string' ? answer : 'taken', complaint);
    });
  }
});
