import assert from 'node:assert/strict';

import type { Backend } from '#lib/backend/backend';
import type { OvsTap } from '#lib/backend/ovs-tap';
import { Machine } from '#lib/vmm/machine';
import type { CheckedNet } from '#lib/vmm/options';
import { PluggedNets } from '#lib/vmm/plugged-nets';
import type { Openers } from '#lib/vmm/plugged-nets';

describe('what stands behind the cards of a machine', () => {
  let log: string[];
  /** Names of those that can't be let go of. */
  let stubborn: Set<string>;
  let signals: (AbortSignal | undefined)[];

  class FakeBackend {
    readonly queues = [];
    closed = false;
    readonly name: string;

    constructor(name: string) {
      this.name = name;
    }

    close(): void {
      this.#end('close');
    }

    discard(): void {
      this.#end('discard');
    }

    #end(how: string): void {
      this.closed = true;
      log.push(`${how} ${this.name}`);
      if (stubborn.has(this.name)) throw new Error(`${this.name} stays`);
    }
  }

  const open = (name: string) => new FakeBackend(name) as unknown as Backend;
  const openers = {
    openBackend: ({ tap }: { tap: string }) => {
      if (tap === 'none') throw new Error('refused');
      return open(tap);
    },
    openOvsTap: ({ tap }: { tap: string }, _count: number, signal?: AbortSignal) => {
      signals.push(signal);
      const port = { completeOnly: true, remove: () => Promise.resolve(log.push(`remove ${tap}`)) };
      return Promise.resolve({ tap: open(tap), port } as unknown as OvsTap);
    },
  } as unknown as Openers;

  const net = (backend: CheckedNet['backend']): CheckedNet => ({
    ...{
      backend,
      mac: Uint8Array.of(2, 0, 0, 0, 0, 2),
      queuePairs: 1,
      queueSize: 1024,
      mtu: undefined,
    },
  });
  const OVS = { tap: 'plugged', ovs: { bridge: 'br0' } };

  beforeEach(() => {
    log = [];
    signals = [];
    stubborn = new Set();
  });

  it('is closed at the end of a machine, those that were given too, and then unplugged', async () => {
    const plugged = new PluggedNets([net(open('given')), net({ tap: 'made' }), net(OVS)], openers);
    const { signal } = new AbortController();
    await plugged.open(signal);
    assert.deepEqual(signals, [signal]);
    assert.deepEqual(
      plugged.nets.map(({ backend, completeOnly }) => [backend.name, completeOnly]),
      [
        ['given', undefined],
        ['made', undefined],
        ['plugged', true],
      ],
    );
    plugged.keep();
    plugged.close();
    await plugged.unplug();
    assert.deepEqual(log, ['close plugged', 'close made', 'close given', 'remove plugged']);
  });

  it('is discarded where it was made for a machine that is not to be; what was given is closed', async () => {
    const nets = [net(open('given')), net({ tap: 'made' }), net(OVS), net({ tap: 'none' })];
    const plugged = new PluggedNets(nets, openers);
    await assert.rejects(plugged.open(undefined), /refused/);
    await plugged.takeBack();
    assert.deepEqual(log, ['discard plugged', 'discard made', 'close given', 'remove plugged']);
  });

  it('leaves its bridge also when something can not be closed', async () => {
    const plugged = new PluggedNets([net(open('given')), net(OVS)], openers);
    await plugged.open(undefined);
    stubborn.add('given').add('plugged');
    await plugged.takeBack();
    assert.deepEqual(log, ['discard plugged', 'close given', 'remove plugged']);
  });

  it("is the machine's from the check of its options on, wherever the boot fails", async () => {
    const boot = (given: FakeBackend, options: object) =>
      Machine.boot({
        kernel: '/no/such',
        net: [{ backend: given as unknown as Backend }],
        ...options,
      });
    const one = new FakeBackend('kernel');
    await assert.rejects(boot(one, {}), { code: 'ENOENT' });
    assert.equal(one.closed, true);
    const two = new FakeBackend('signal');
    await assert.rejects(boot(two, { signal: AbortSignal.abort(new Error('late')) }), /late/);
    assert.equal(two.closed, true);
    const three = new FakeBackend('options');
    await assert.rejects(boot(three, { memoryMiB: 1 }), RangeError);
    assert.equal(three.closed, false);
  });
});
