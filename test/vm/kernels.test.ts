import assert from 'node:assert/strict';

import { BOOT, Guest } from '../support/guest.js';
import type { GuestKernel } from '../support/guest.js';
import { describeWith } from '../support/requirements.js';

/** Besides the cloud kernel, which the other tests boot. */
const KERNELS = (process.env['VHOST_VM_KERNELS'] ?? '6.1,6.12,7').split(',') as GuestKernel[];

describeWith(['kvm', 'root'], 'Machine.boot() of other guests', () => {
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
});
