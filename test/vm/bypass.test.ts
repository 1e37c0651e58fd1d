import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as elapse } from 'node:timers/promises';

import { BOOT } from '../support/guest.js';
import { TestNetwork } from '../support/network.js';
import { NetworkedGuest } from '../support/networked-guest.js';
import { describeWith } from '../support/requirements.js';

/** Frames that pass while nothing may come to user space. */
const FRAMES = Number(process.env['VHOST_VM_FRAMES'] ?? 50_000);
/** Fewer are no traffic at all, even where everything is emulated. */
const SLOWEST = 500;
const MS_BLOCKED = 2000;
/** Times that it is looked at, once with a free thread and once with a blocked one. */
const PAIRS = 3;
/** For longer than this thread is blocked. */
const PINGS = 300;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/** Stops this thread, and with it the event loop, without a use of the CPU that others then lack. */
function block(ms: number): void {
  execFileSync('sleep', [String(ms / 1000)]);
}

describeWith(['kvm', 'vhost', 'tun', 'root'], 'the frames of a machine', () => {
  let network: TestNetwork;
  let networked: NetworkedGuest;

  before(async function () {
    this.timeout(BOOT);
    network = new TestNetwork();
    networked = await NetworkedGuest.boot(network);
  });

  after(async () => {
    await networked.guest.stop();
    network.close();
  });

  async function flood(): Promise<void> {
    await network.run('ping', '-q', '-f', '-c', '200', networked.address);
  }

  /** While the guest sends as many frames as it can. */
  async function generating(act: () => Promise<void>): Promise<void> {
    await networked.generate();
    try {
      await act();
    } finally {
      await networked.stopGenerating();
    }
  }

  it(`pass, ${String(FRAMES)} of them, without an exit to user space for a doorbell or an interrupt`, () =>
    generating(async () => {
      const before = await networked.atRest();
      // Others come in meanwhile, and are answered.
      const passed = () => networked.frames() - networked.frames(before);
      while (passed() < FRAMES) await flood();
      const after = networked.guest.machine.statistics();
      assert.equal(after.calls, before.calls, 'calls into JavaScript');
      assert.deepEqual(after.exits, before.exits, 'exits');
      assert.equal(after.net[0]?.pci.notifications, before.net[0]?.pci.notifications);
      // The kernel's own count: of what came to user space, of what it did itself, of interrupts.
      const kernel = (name: string) => (after.kvm[name] ?? 0) - (before.kvm[name] ?? NaN);
      assert.equal(kernel('mmio_exits'), 0, 'accesses of memory that user space answered');
      assert.equal(kernel('signal_exits'), 0, 'signals');
      assert.ok(kernel('exits') > 0, 'exits that the kernel served');
      assert.ok(kernel('irq_injections') > 0, 'interrupts that the kernel delivered');
    })).timeout(BOOT + (1000 * FRAMES) / SLOWEST);

  it('go out at the same rate while the JavaScript thread is blocked for two seconds', () =>
    generating(async () => {
      const rate = async (wait: () => unknown) => {
        const [before, start] = [networked.frames(), performance.now()];
        await wait();
        return Math.round((networked.frames() - before) / ((performance.now() - start) / 1000));
      };
      await networked.atRest();
      const free: number[] = [];
      const blocked: number[] = [];
      for (let i = 0; i < PAIRS; i++) {
        free.push(await rate(() => elapse(MS_BLOCKED)));
        blocked.push(
          await rate(() => {
            block(MS_BLOCKED);
          }),
        );
      }
      const rates = `frames/s: ${blocked.join(', ')} blocked; ${free.join(', ')} free`;
      // The host has other things to do as well: what stood still would be 0.
      assert.ok(median(blocked) > Math.max(SLOWEST, median(free) / 2), rates);
    })).timeout(BOOT);

  it('come in and are answered while the JavaScript thread is blocked for two seconds', async () => {
    const pings = network.start(
      'ping',
      '-i',
      '0.01',
      '-c',
      String(PINGS),
      '-W',
      '5',
      networked.address,
    );
    const ended = once(pings, 'close');
    let said = '';
    pings.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    while (!said.includes(' bytes from ')) await once(pings.stdout, 'data');
    const before = networked.frames();
    block(MS_BLOCKED);
    // On an idle host some 200. If any of it had to wait for this thread, there would be none.
    const answered = networked.frames() - before;
    await ended;
    assert.ok(answered > 20, `${String(answered)} answers`);
    assert.match(said, new RegExp(`^${String(PINGS)} packets.* ${String(PINGS)} received`, 'm'));
  }).timeout(BOOT);
});
