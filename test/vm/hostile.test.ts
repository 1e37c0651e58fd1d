import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as elapse } from 'node:timers/promises';

import { HostileGuest, compileHostileGuest } from '../support/hostile-guest.js';
import { TestNetwork } from '../support/network.js';
import { kernelMappings, machineThreads, processState } from '../support/process-state.js';
import { Random } from '../support/random.js';
import { describeWith } from '../support/requirements.js';
import { Pages } from '#lib/sys/pages';

/** `VHOST_HOSTILE_ACCESSES=1000000` is what a release is held against. */
const ACCESSES = Number(process.env['VHOST_HOSTILE_ACCESSES'] ?? 20_000);
const SEED = Number(process.env['VHOST_HOSTILE_SEED'] ?? 42);
const STOPS = Number(process.env['VHOST_VM_STOPS'] ?? 10);
/** Where KVM runs in an emulation an access takes a millisecond at the worst. */
const TIME = 60_000 + 4 * ACCESSES;

/** Milliseconds of the event loop that a guest may have saved up. */
const SAVED_UP = 1000;
/** What was begun within a share may end beyond it: a boot, on a host that has other things to do. */
const OVERDRAWN = 300;

/** Memory of this process beside that of a guest: nobody may write there. */
async function beside(body: () => Promise<void>): Promise<void> {
  const canaries = [1, 2].map(() => Pages.allocate({ byteLength: 4 << 20 }));
  try {
    for (const { buffer } of canaries) new Uint8Array(buffer).fill(0x5a);
    await body();
    for (const { buffer } of canaries) {
      const untouched = new Uint8Array(buffer).every((byte) => byte === 0x5a);
      assert.ok(untouched, "memory that is not the guest's");
    }
  } finally {
    for (const pages of canaries) pages.close();
  }
}

/** Does something, after which there is as much of everything as before. */
async function leavingNothing(body: () => Promise<void>): Promise<void> {
  const before = processState();
  await body();
  assert.deepEqual(processState(), before);
  assert.deepEqual(machineThreads(), []);
}

describeWith(['kvm', 'root'], 'a vCPU whose guest means it no good', () => {
  let kernel: string;

  before(async function () {
    this.timeout(120_000);
    kernel = compileHostileGuest();
    // What is made once in a process is made now.
    const guest = await HostileGuest.boot(kernel, { seed: SEED, count: 10 });
    await guest.report();
  });

  it(`accesses ports and memory ${String(ACCESSES)} times at random, and leaves when it likes (VHOST_HOSTILE_SEED=${String(SEED)})`, async () => {
    const run = async () => {
      const guest = await HostileGuest.boot(kernel, { seed: SEED, count: ACCESSES });
      const { end, report } = await guest.report();
      assert.deepEqual(end, { reason: 'exit', status: 42 });
      assert.equal(report?.seed, SEED);
      assert.ok(report.accesses >= ACCESSES, String(report.accesses));
      assert.ok(guest.machine.statistics().calls > ACCESSES / 2, 'they came to user space');
    };
    await leavingNothing(() => beside(run));
  }).timeout(TIME);

  it(`is stopped at any moment, ${String(STOPS)} times, and nothing is left`, async () => {
    const random = new Random(SEED);
    const mappings = kernelMappings();
    for (let i = 0; i < STOPS; i++) {
      await leavingNothing(async () => {
        const { machine } = await HostileGuest.boot(kernel, { seed: SEED + i });
        await elapse(random.below(200));
        assert.deepEqual(await machine.stop(), { reason: 'stopped', status: 0 });
      });
    }
    assert.ok(kernelMappings() <= mappings + 20, 'mappings of the process');
  }).timeout(TIME);

  for (const [how, end] of [
    ['resets', 1],
    ['triple faults', 2],
  ] as const) {
    it(`takes no more than its share of the event loop by ${how} without end`, async () => {
      const eventLoopShare = 0.05;
      const options = { eventLoopShare, onReset: 'reboot' } as const;
      const began = performance.now();
      const { machine } = await HostileGuest.boot(kernel, { seed: SEED, count: 1, end }, options);
      while (machine.statistics().loop.waits < 5) await elapse(10);
      // In the midst of a wait, and it does not last.
      assert.deepEqual(await machine.stop(), { reason: 'stopped', status: 0 });
      const { cycles, loop } = machine.statistics();
      assert.ok(cycles > 5, String(cycles));
      const share = SAVED_UP + eventLoopShare * (performance.now() - began);
      assert.ok(loop.milliseconds < share + OVERDRAWN, JSON.stringify(loop));
    }).timeout(TIME);
  }

  it('takes no more than its share of the event loop by accesses without end', async () => {
    const eventLoopShare = 0.05;
    const began = performance.now();
    const { machine } = await HostileGuest.boot(kernel, { seed: SEED }, { eventLoopShare });
    while (machine.statistics().loop.waits < 5) await elapse(10);
    assert.deepEqual(await machine.stop(), { reason: 'stopped', status: 0 });
    const { loop } = machine.statistics();
    const share = SAVED_UP + eventLoopShare * (performance.now() - began);
    assert.ok(loop.milliseconds < share + OVERDRAWN, JSON.stringify(loop));
    assert.ok(loop.waitedMilliseconds > 100, JSON.stringify(loop));
  }).timeout(TIME);
});

describeWith(['kvm', 'vhost', 'tun', 'root'], 'a vCPU whose guest means cards no good', () => {
  let kernel: string;
  let network: TestNetwork;

  before(function () {
    this.timeout(120_000);
    kernel = compileHostileGuest();
  });
  beforeEach(() => {
    network = new TestNetwork();
  });
  afterEach(() => {
    network.close();
  });

  const cards = () => ({
    net: ['vm0', 'vm1'].map((tap, i) => ({
      backend: { tap, netns: network.name, addresses: [`10.77.${String(i)}.1/24`] },
      mac: `02:00:00:00:00:0${String(i)}`,
    })),
  });

  /** Frames for whoever takes them, answered or not, until it is called. */
  function flood(): () => Promise<void> {
    network.ip('neigh', 'add', '10.77.0.2', 'lladdr', '02:00:00:00:00:00', 'dev', 'vm0');
    const ping = network.start('ping', '-f', '-q', '10.77.0.2');
    ping.stdout.resume();
    ping.stderr.resume();
    const closed = once(ping, 'close');
    return async () => {
      ping.kill();
      await closed;
    };
  }

  for (const cpus of [1, 2]) {
    it(`accesses registers and rings ${String(ACCESSES)} times at random, with ${String(cpus)} CPUs at once, and leaves when it likes (VHOST_HOSTILE_SEED=${String(SEED)})`, async () => {
      const run = async () => {
        const orders = { seed: SEED, count: ACCESSES };
        const guest = await HostileGuest.boot(kernel, orders, { ...cards(), cpus });
        const stopFlood = flood();
        const { end, report } = await guest.report();
        await stopFlood();
        assert.deepEqual(end, { reason: 'exit', status: 42 });
        assert.deepEqual([report?.seed, report?.cpus], [SEED, cpus]);
        assert.ok(report && report.accesses >= ACCESSES, String(report?.accesses));
        assert.ok(report.starts > 0 && report.refused > 0, JSON.stringify(report));
        assert.ok(guest.machine.statistics().net.every(({ pci }) => pci.resets > 0));
      };
      await leavingNothing(() => beside(run));
    }).timeout(TIME);
  }

  it(`is stopped at any moment, ${String(STOPS)} times, and nothing is left`, async () => {
    const random = new Random(SEED);
    for (let i = 0; i < STOPS; i++) {
      await leavingNothing(async () => {
        const { machine } = await HostileGuest.boot(kernel, { seed: SEED + i }, cards());
        await elapse(random.below(1000));
        assert.deepEqual(await machine.stop(), { reason: 'stopped', status: 0 });
      });
    }
  }).timeout(TIME);
});
