import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import { Worker } from 'node:worker_threads';
import path from 'node:path';

import { Guest, guestFiles } from '../support/guest.js';
import type { GuestKernel } from '../support/guest.js';
import { kernelMappings, processState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import { Machine } from '#lib/vmm/machine';

/** Milliseconds for a boot, with a hypervisor below that is emulated. */
const BOOT = 100_000;

/** Threads that run vCPUs. */
function vcpuThreads(): string[] {
  return fs.readdirSync('/proc/self/task').filter((tid) => {
    try {
      return fs.readFileSync(`/proc/self/task/${tid}/comm`, 'utf8').startsWith('vcpu-');
    } catch {
      return false; // It ended while we looked.
    }
  });
}

/** Besides the cloud kernel, which the other tests boot. */
const KERNELS = (process.env['VHOST_VM_KERNELS'] ?? '6.1,6.12,7').split(',') as GuestKernel[];

describeWith(['kvm', 'root'], 'Machine.boot()', () => {
  describe("of Debian's cloud kernel, unmodified", () => {
    let guest: Guest;

    before(async function () {
      this.timeout(BOOT);
      guest = await Guest.boot('6.1-cloud');
    });

    after(() => guest.stop());

    it('comes to a shell that answers', async () => {
      assert.match(await guest.sh('uname -r'), /^6\.1\..*-cloud-amd64$/);
    }).timeout(BOOT);

    it('gives it the memory, the command line and the processor that were asked for', async () => {
      assert.match(await guest.sh('cat /proc/cmdline'), /console=ttyS0 quiet reboot=k panic=-1/);
      const [, kib] = /MemTotal: +(\d+) kB/.exec(await guest.sh('cat /proc/meminfo')) ?? [];
      assert.ok(Number(kib) > 64 << 10 && Number(kib) <= 128 << 10, String(kib));
      assert.equal(await guest.sh('grep -c ^processor /proc/cpuinfo'), '1');
    }).timeout(BOOT);

    it('lets it know the time of the host', async () => {
      const difference = Number(await guest.sh('date +%s')) - Date.now() / 1000;
      assert.ok(Math.abs(difference) < 30, String(difference));
    }).timeout(BOOT);

    it('has a console with a FIFO and an interrupt, through which many bytes come whole', async () => {
      assert.match(
        await guest.sh('cat /proc/tty/driver/serial'),
        /0: uart:16550A port:000003F8 irq:4/,
      );
      const text = await guest.sh('seq 1 400');
      assert.equal(text, Array.from({ length: 400 }, (_, i) => String(i + 1)).join('\n'));
    }).timeout(BOOT);

    it('does nothing in user space while the guest sleeps', async () => {
      await guest.sh('sleep 1');
      await new Promise((resolve) => setTimeout(resolve, 500));
      const before = guest.machine.statistics();
      await new Promise((resolve) => setTimeout(resolve, 500));
      const after = guest.machine.statistics();
      assert.equal(after.calls, before.calls);
      assert.ok((after.kvm['exits'] ?? 0) > (before.kvm['exits'] ?? 0), 'the kernel served it');
    }).timeout(BOOT);

    it('boots it anew when it is switched off and on, with nothing left of before', async () => {
      await guest.sh('touch /here');
      guest.machine.reboot();
      await once(guest.machine, 'reboot');
      await guest.ready();
      assert.equal(await guest.sh('ls /here 2>&1 || true'), 'ls: /here: No such file or directory');
      assert.equal(guest.machine.statistics().cycles, 2);
    }).timeout(BOOT);

    it('ends with the status that the guest leaves', async () => {
      guest.machine.type('exit 42\n');
      assert.deepEqual(await guest.machine.wait(), { reason: 'exit', status: 42 });
      assert.equal(guest.machine.running, false);
    }).timeout(BOOT);
  });

  for (const kernel of KERNELS) {
    it(`boots Debian's kernel ${kernel} to a shell, and hears its reset`, async () => {
      const guest = await Guest.boot(kernel);
      try {
        assert.ok((await guest.sh('uname -r')).startsWith(`${kernel}.`));
        guest.machine.type('reboot -f\n');
        assert.equal((await guest.machine.wait()).reason, 'reset');
      } finally {
        await guest.stop();
      }
    }).timeout(BOOT);
  }

  it('boots a guest with memory beyond 4 GiB, all of which it sees', async () => {
    // Nobody touches most of it: the host has not so much.
    const guest = await Guest.boot('6.1-cloud', { memoryMiB: 4096 });
    try {
      const [, kib] = /MemTotal: +(\d+) kB/.exec(await guest.sh('cat /proc/meminfo')) ?? [];
      assert.ok(Number(kib) > 3900 << 10, String(kib));
    } finally {
      await guest.stop();
    }
  }).timeout(BOOT);
});

describeWith(['kvm', 'root'], 'Machine#stop()', () => {
  it('ends a guest at any moment of its boot, ten times, and leaves nothing', async () => {
    await (await Machine.boot(guestFiles('6.1-cloud'))).stop();
    const before = processState();
    const mappings = kernelMappings();
    for (let i = 0; i < 10; i++) {
      const machine = await Machine.boot(guestFiles('6.1-cloud'));
      await new Promise((resolve) => setTimeout(resolve, 40 * i));
      assert.deepEqual(await machine.stop(), { reason: 'stopped', status: 0 });
      assert.deepEqual(vcpuThreads(), []);
    }
    assert.deepEqual(processState(), before);
    assert.ok(kernelMappings() <= mappings + 20, 'mappings of the process');
  }).timeout(BOOT);

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
      assert.deepEqual(vcpuThreads(), []);
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
