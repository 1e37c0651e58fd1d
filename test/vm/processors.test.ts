import assert from 'node:assert/strict';

import { BOOT, Guest, guestFiles } from '../support/guest.js';
import type { GuestKernel } from '../support/guest.js';
import { machineThreads, processState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import { Vcpu } from '#lib/sys/vcpu';
import { Machine } from '#lib/vmm/machine';

/** Processors of the machine with the most of them. */
const CPUS = Number(process.env['VHOST_VM_CPUS'] ?? 4);

/** By the name of an interrupt, how often each processor took it. */
function interrupts(text: string): Map<string, number[]> {
  const rows = text.split('\n').map((line) => line.trim().split(/\s+/));
  return new Map(
    rows.map(([label = '', ...rest]) => [
      label.replace(':', ''),
      rest.filter((word) => /^\d+$/.test(word)).map(Number),
    ]),
  );
}

describeWith(['kvm', 'root'], 'a machine with several processors', () => {
  const boot = (cpus: number, kernel: GuestKernel = '6.1-cloud') => Guest.boot(kernel, { cpus });

  it(`starts each of ${String(CPUS)}, as cores of one package, all of which work`, async () => {
    const guest = await boot(CPUS);
    try {
      assert.equal(await guest.sh('grep -c ^processor /proc/cpuinfo'), String(CPUS));
      const of = (field: string) => guest.sh(`grep '^${field}' /proc/cpuinfo | sort -u | wc -l`);
      assert.equal(await of('physical id'), '1');
      assert.equal(await of('core id'), String(CPUS));
      assert.equal(await of('apicid'), String(CPUS));
      for (let cpu = 0; cpu < CPUS; cpu++) {
        const mask = (1 << cpu).toString(16);
        assert.match(
          await guest.sh(`taskset ${mask} cut -d' ' -f39 /proc/self/stat`),
          RegExp(`^${String(cpu)}$`),
        );
      }
      const timers = interrupts(await guest.sh('cat /proc/interrupts')).get('LOC') ?? [];
      assert.equal(timers.length, CPUS);
      assert.ok(
        timers.every((count) => count > 0),
        `local timers: ${timers.join(', ')}`,
      );
    } finally {
      await guest.stop();
    }
  }).timeout(BOOT + CPUS * 20_000);

  it('needs neither PICs nor the timer at IRQ 0, for its tables say so', async () => {
    const guest = await boot(1);
    try {
      const lines = interrupts(await guest.sh('cat /proc/interrupts'));
      assert.equal(lines.has('0'), false);
      assert.match(await guest.sh('dmesg | grep -c "ACPI: .*VHOST"'), /^[1-9]/);
      // Conventional PCI has no more than 256 bytes of configuration, which Linux finds worth a warning.
      const known = 'add MMCONFIG information';
      const warnings = `dmesg -r | grep '^<[0-4]>' | grep -iE 'acpi|apic' | grep -v '${known}'`;
      const complaints = await guest.sh(`${warnings} || true`);
      assert.equal(complaints, '');
    } finally {
      await guest.stop();
    }
  }).timeout(BOOT);

  it('ends when the guest switches it off', async () => {
    const guest = await boot(2);
    guest.machine.type('poweroff -f\n');
    assert.deepEqual(await guest.machine.wait(), { reason: 'poweroff', status: 0 });
  }).timeout(BOOT);

  it('can be stopped while its further processors were never started', async () => {
    const guest = await Guest.boot('6.1-cloud', {
      cpus: 2,
      commandLine: 'console=ttyS0 quiet reboot=k panic=-1 maxcpus=1',
    });
    assert.equal(await guest.sh('grep -c ^processor /proc/cpuinfo'), '1');
    assert.equal((await guest.machine.stop()).reason, 'stopped');
  }).timeout(BOOT);

  const refusal = new Error('no thread');

  /** Meanwhile so many vCPUs get a thread, and the next one gets none. */
  async function withThreads(count: number, body: () => Promise<void>): Promise<void> {
    const start = Reflect.get(Vcpu.prototype, 'start');
    let started = 0;
    Vcpu.prototype.start = function (bus) {
      if (++started > count) throw refusal;
      return start.call(this, bus);
    };
    try {
      await body();
    } finally {
      Vcpu.prototype.start = start;
    }
    assert.equal(started, count + 1);
  }

  it('is not booted when one of its processors gets no thread, and nothing is left', async () => {
    const before = processState();
    await withThreads(2, () =>
      assert.rejects(Machine.boot({ ...guestFiles('6.1-cloud'), cpus: 3 }), refusal),
    );
    assert.deepEqual(machineThreads(), []);
    assert.deepEqual(processState(), before);
  }).timeout(BOOT);

  it('ends, and says why, when one of its processors gets no thread at a reboot', async () => {
    const machine = await Machine.boot({ ...guestFiles('6.1-cloud'), cpus: 2 });
    const reboots: string[] = [];
    machine.on('reboot', () => reboots.push('reboot'));
    await withThreads(1, async () => {
      machine.reboot();
      assert.deepEqual(await machine.wait(), { reason: 'failed', status: 1, error: refusal });
    });
    assert.deepEqual(reboots, []);
    assert.deepEqual(machineThreads(), []);
  }).timeout(BOOT);

  it('boots a kernel that is told to know nothing of the tables', async () => {
    const commandLine = 'console=ttyS0 quiet reboot=k panic=-1 acpi=off';
    const guest = await Guest.boot('6.1', { commandLine });
    try {
      assert.match(await guest.sh('uname -r'), /^6\.1\./);
    } finally {
      await guest.stop();
    }
  }).timeout(BOOT);
});
