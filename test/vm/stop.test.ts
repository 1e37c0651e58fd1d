import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as elapse } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import { BOOT, Guest, guestFiles } from '../support/guest.js';
import { kernelMappings, machineThreads, processState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import { Machine } from '#lib/vmm/machine';

/** Guests that are ended, each a little later in its boot. */
const STOPS = Number(process.env['VHOST_VM_STOPS'] ?? 10);

describeWith(['kvm', 'root'], 'Machine#stop()', () => {
  it(`ends a guest at any moment of its boot, ${String(STOPS)} times, and leaves nothing`, async () => {
    await (await Machine.boot(guestFiles('6.1-cloud'))).stop();
    const before = processState();
    const mappings = kernelMappings();
    for (let i = 0; i < STOPS; i++) {
      const machine = await Machine.boot(guestFiles('6.1-cloud'));
      await elapse(40 * i);
      assert.deepEqual(await machine.stop(), { reason: 'stopped', status: 0 });
      assert.deepEqual(machineThreads(), []);
    }
    assert.deepEqual(processState(), before);
    assert.ok(kernelMappings() <= mappings + 20, 'mappings of the process');
  }).timeout(BOOT + STOPS * 5000);

  it('may be called by whoever hears of the guest, twice, and after the end', async () => {
    const machine = await Machine.boot({
      ...guestFiles('6.1-cloud'),
      commandLine: 'console=ttyS0',
    });
    const ended = once(machine, 'end');
    machine.once('output', () => {
      void machine.stop();
    });
    await ended;
    assert.deepEqual(await machine.stop(), { reason: 'stopped', status: 0 });
    assert.throws(() => machine.reboot(), { code: 'ERR_VHOST_CLOSED' });
  }).timeout(BOOT);

  /** Reboots a machine; what is done at each request to the kernel until it is up again, or has ended. */
  async function rebootWith(machine: Machine, atRequest: (count: number) => void): Promise<number> {
    let requests = 0;
    const listener = () => {
      atRequest(++requests);
    };
    subscribe('vhost-net:ioctl', listener);
    try {
      machine.reboot();
      await Promise.race([once(machine, 'reboot'), once(machine, 'end')]);
      return requests;
    } finally {
      unsubscribe('vhost-net:ioctl', listener);
    }
  }

  it('ends a machine in the midst of its reboot, at whichever request to the kernel', async () => {
    const first = await Machine.boot(guestFiles('6.1-cloud'));
    const requests = await rebootWith(first, () => undefined);
    await first.stop();
    assert.ok(requests > 10, String(requests));
    for (const moment of [1, requests >> 1, requests]) {
      const machine = await Machine.boot(guestFiles('6.1-cloud'));
      await rebootWith(machine, (count) => {
        if (count === moment) void machine.stop();
      });
      const { running } = machine;
      assert.deepEqual(await machine.stop(), { reason: 'stopped', status: 0 });
      assert.equal(running, false, `at request ${String(moment)} of ${String(requests)}`);
    }
  }).timeout(2 * BOOT);

  it('is not what a listener calls by throwing: the process is told, and the machine goes on', async () => {
    const machine = await Machine.boot({
      ...guestFiles('6.1-cloud'),
      commandLine: 'console=ttyS0',
    });
    const uncaught = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    try {
      const thrown = once(process, 'uncaughtException');
      machine.once('output', () => {
        throw new Error('a listener failed');
      });
      assert.match(String(await thrown), /a listener failed/);
      await once(machine, 'output');
      assert.equal(machine.running, true);
    } finally {
      for (const listener of uncaught) process.on('uncaughtException', listener);
      assert.deepEqual(await machine.stop(), { reason: 'stopped', status: 0 });
    }
  }).timeout(BOOT);

  it('ends a guest also where the user may have no more signals on their way', async () => {
    const limit = (...args: string[]) =>
      execFileSync('prlimit', ['--pid', String(process.pid), ...args], { encoding: 'utf8' });
    const before = limit('--sigpending', '--raw', '--noheadings', '--output', 'SOFT').trim();
    const { machine } = await Guest.boot('6.1-cloud');
    // Until it sleeps, and leaves KVM for nothing but a signal.
    let calls = -1;
    while (calls !== machine.statistics().calls) {
      ({ calls } = machine.statistics());
      await elapse(500);
    }
    limit('--sigpending=0:');
    try {
      assert.deepEqual(await machine.stop(), { reason: 'stopped', status: 0 });
    } finally {
      limit(`--sigpending=${before}:`);
    }
  }).timeout(BOOT);

  it('is what an aborted signal calls', async () => {
    const abort = new AbortController();
    const machine = await Machine.boot({ ...guestFiles('6.1-cloud'), signal: abort.signal });
    abort.abort();
    assert.equal((await machine.wait()).reason, 'stopped');
  }).timeout(BOOT);

  it('is not needed when a Worker with a machine is terminated: nothing is left, and nothing aborts', async () => {
    const before = processState();
    for (let i = 0; i < 3; i++) {
      const worker = new Worker(path.join(__dirname, 'machine.worker.js'), {
        workerData: guestFiles('6.1-cloud'),
      });
      await once(worker, 'message');
      await worker.terminate();
      assert.deepEqual(machineThreads(), []);
    }
    assert.equal(processState().descriptors, before.descriptors);
  }).timeout(BOOT);
});

describeWith(['kvm', 'root'], 'several machines in one process', () => {
  it('run beside each other, and end one by one', async () => {
    const guests = await Promise.all([Guest.boot('6.1-cloud'), Guest.boot('6.1-cloud')]);
    try {
      const answers = await Promise.all(
        guests.map((guest, i) => guest.sh(`echo guest ${String(i)}`)),
      );
      assert.deepEqual(answers, ['guest 0', 'guest 1']);
      await guests[0].stop();
      assert.equal(await guests[1].sh('echo still here'), 'still here');
    } finally {
      for (const guest of guests) await guest.stop();
    }
  }).timeout(BOOT);
});
