import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as elapse } from 'node:timers/promises';

import { BOOT, Guest } from '../support/guest.js';
import { describeWith } from '../support/requirements.js';
import type { MachineStatistics } from '#lib/vmm/machine-statistics';

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
        /0: uart:16550A port:000003F8 irq:\d+/,
      );
      const text = await guest.sh('seq 1 400');
      assert.equal(text, Array.from({ length: 400 }, (_, i) => String(i + 1)).join('\n'));
    }).timeout(BOOT);

    it('tells what it took of the event loop, and how long it waited for its share', () => {
      const { waits, waitedMilliseconds, milliseconds } = guest.machine.statistics().loop;
      assert.ok(milliseconds > 0);
      // Whether it has to depends on the host: where all is emulated, an answer takes as long as what leads to it.
      assert.equal(waitedMilliseconds > 0, waits > 0);
    });

    it('does nothing in user space while the guest sleeps', async () => {
      // Its driver has a last look at the console after the last byte.
      let before: MachineStatistics;
      let after = guest.machine.statistics();
      do {
        before = after;
        await elapse(500);
        after = guest.machine.statistics();
      } while (after.calls !== before.calls);
      assert.deepEqual(after.exits, before.exits);
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
});
