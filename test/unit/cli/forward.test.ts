import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

import { openAll } from '#lib/cli/forward-opening';
import { forwardOptions, portOptions } from '#lib/cli/forward-options';
import { ForwardReport } from '#lib/cli/forward-report';
import { claimLink } from '#lib/cli/link-claim';
import { MissedFrames } from '#lib/cli/missed-frames';
import type { MacvtapOptions } from '#lib/backend/macvtap-options';
import type { NativeLinkCounters } from '#lib/native';

const root = path.dirname(require.resolve('vhost-net/package.json'));
const MAIN = path.join(root, 'dist/cli/main.js');

/** Options that must be right. */
function options(...args: string[]) {
  const read = forwardOptions(args);
  if (typeof read === 'string') assert.fail(read);
  return read;
}

const backends = (...args: string[]) => portOptions(options(...args)).map(({ backend }) => backend);

describe('vhost-net forward', () => {
  it('takes its options', () => {
    const read = options('tap:a', 'packet:veth1@blue', '--queues', '2', '--ovs=br0', '--json');
    assert.deepEqual(read, {
      backends: [
        { text: 'tap:a', kind: 'tap', name: 'a', netns: undefined },
        { text: 'packet:veth1@blue', kind: 'packet', name: 'veth1', netns: 'blue' },
      ],
      ovs: 'br0',
      queues: 2,
      json: true,
    });
    assert.deepEqual(options('tap:a', 'tap:b').queues, 1);
  });

  it('makes of a backend what openPort takes', () => {
    assert.deepEqual(backends('tap:a', 'tap:b@/run/netns/x', 'packet:veth1'), [
      { tap: 'a' },
      { tap: 'b', netns: '/run/netns/x' },
      { packet: 'veth1' },
    ]);
    const rest = { mode: 'passthru', persistent: false };
    assert.deepEqual(backends('macvtap:eth0', 'macvtap:eth1@blue'), [
      { macvtap: 'mvt-eth0', link: 'eth0', ...rest },
      { macvtap: 'mvt-eth1', link: 'eth1', netns: 'blue', ...rest },
    ]);
  });

  it('names a macvtap after its link, whatever its length, so that the next command finds it', () => {
    const [a, b] = backends('macvtap:enp0s31f6-abc', 'macvtap:enp0s31f6-abd') as MacvtapOptions[];
    assert.match(a?.macvtap ?? '', /^mvt-[0-9a-f]{11}$/);
    assert.notEqual(a?.macvtap, b?.macvtap);
  });

  it('refuses a link that another process has, and takes one whose process has ended', async () => {
    const link = `vnt${String(process.pid)}`;
    const claim = `require('${root}/out/lib/cli/link-claim.js').claimLink({ macvtap: 'm', link: '${link}' })`;
    const other = spawn(process.execPath, [
      '-e',
      `${claim}.then(() => { console.log('has it'); setInterval(() => 0, 1e6); })`,
    ]);
    await once(other.stdout, 'readable');
    await assert.rejects(claimLink({ macvtap: 'm', link }), {
      message: `another vhost-net forward has ${link}`,
    });
    const ended = once(other, 'close');
    other.kill('SIGKILL');
    await ended;
    await claimLink({ macvtap: 'm', link });
    await claimLink({ packet: link });
  });

  it('makes the last tap, and no other, a port of the bridge: two would be a loop', () => {
    assert.deepEqual(backends('tap:a', 'tap:b', 'packet:c', '--ovs', 'br0'), [
      { tap: 'a' },
      { tap: 'b', ovs: { bridge: 'br0' } },
      { packet: 'c' },
    ]);
  });

  it('refuses what is wrong by name, with exit status 2', () => {
    const wrong: [string[], RegExp][] = [
      [[], /it takes two backends or more/],
      [['tap:a'], /it takes two backends or more/],
      [['tap:a', 'tap:a'], /'tap:a' can be given only once/],
      [['a', 'b'], /a backend is one of tap:NAME, macvtap:NAME, packet:NAME, .* not 'a'/],
      [['tap:a', 'tun:b'], /not 'tun:b'/],
      [['tap:a', 'tap:'], /not 'tap:'/],
      [['tap:a', 'tap:b@'], /not 'tap:b@'/],
      [
        ['tap:a', 'tap:b', '--queues=0'],
        /--queues takes a number of queue pairs, 1 to \d, not '0'/,
      ],
      [['tap:a', 'tap:b', '--queues=x'], /--queues takes/],
      [['tap:a', 'tap:b', '--queues=99'], /--queues takes/],
      [['tap:a', 'tap:b', '--ovs='], /--ovs takes the name of a bridge/],
      [['packet:a', 'packet:b', '--ovs=br0'], /--ovs needs a tap/],
      [['tap:a', 'tap:b', '--yaml'], /'--yaml'/],
    ];
    for (const [args, complaint] of wrong) {
      const read = forwardOptions(args);
      assert.match(typeof read === 'string' ? read : 'no complaint', complaint, args.join(' '));
    }
    for (const args of [['tap:a'], ['tap:a', 'tun:b']]) {
      const { status, stderr } = spawnSync(process.execPath, [MAIN, 'forward', ...args], {
        encoding: 'utf8',
      });
      assert.equal(status, 2);
      assert.match(stderr, /^vhost-net: forward: .*\n\nusage: vhost-net COMMAND/);
    }
  });

  it('ends with 2 also where no backend could have such a name', () => {
    const args = [MAIN, 'forward', `tap:${'b'.repeat(16)}`, 'tap:a'];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    assert.match(stderr, /^vhost-net: tap:b+: tap must be a name of 1 to 15 bytes/);
    assert.equal(status, 2);
  });

  it('opens no more when it is told to end, ends the opening under way', async () => {
    const stop = new AbortController();
    const ports = new Map<string, string>();
    const signals: AbortSignal[] = [];
    const open = async ({ signal }: { signal?: AbortSignal }): Promise<string> => {
      assert.ok(signal);
      signals.push(signal);
      if (signals.length < 2) return 'open';
      setImmediate(() => {
        stop.abort(0);
      });
      await once(signal, 'abort');
      throw signal.reason;
    };
    const all = options('tap:a', 'tap:b', 'tap:c');
    assert.equal(await openAll(all, ports, new ForwardReport(true), stop.signal, open), 0);
    assert.deepEqual([...ports.keys()], ['tap:a']);
    assert.equal(signals.length, 2, 'and the third is not begun');
  });

  it('does not close ports by the signal that ends it: their counters come first', async () => {
    const stop = new AbortController();
    const signals: AbortSignal[] = [];
    const open = ({ signal }: { signal?: AbortSignal }): Promise<string> => {
      if (signal) signals.push(signal);
      return Promise.resolve('open');
    };
    const report = new ForwardReport(true);
    await openAll(options('tap:a', 'tap:b'), new Map(), report, stop.signal, open);
    stop.abort(0);
    assert.deepEqual(
      signals.map(({ aborted }) => aborted),
      [false, false],
    );
  });

  it('counts what a backend missed by the counter of its kind, from when all were ready', () => {
    const link = (by: number) => ({
      counters: { transmitDropped: 100 + by, receiveDropped: 200 + 2 * by } as NativeLinkCounters,
      queueDropped: 300 + 3 * by,
    });
    for (const [kind, expected] of [
      ['tap', [0, 1, 5]],
      ['macvtap', [0, 2, 10]],
      ['packet', [0, 3, 15]],
    ] as const) {
      const missed = new MissedFrames(kind);
      const counts = [0, 1, 5].map((by) => missed.count(link(by)));
      assert.deepEqual(counts, expected, kind);
    }
  });

  it('goes on counting what was missed with a tap that was made again', () => {
    const missed = new MissedFrames('tap');
    const counts = [7, 9, 3, 4].map((transmitDropped) =>
      missed.count({ counters: { transmitDropped } as NativeLinkCounters }),
    );
    assert.deepEqual(counts, [0, 2, 5, 6]);
  });

  it('explains itself', () => {
    const { status, stdout } = spawnSync(process.execPath, [MAIN, 'forward', '--help'], {
      encoding: 'utf8',
    });
    assert.equal(status, 0);
    assert.match(stdout, /forward A B \[C\.\.\.\] \[--ovs BRIDGE\] \[--queues N\] \[--json\]/);
  });
});
