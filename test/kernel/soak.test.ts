import assert from 'node:assert/strict';
import { once } from 'node:events';

import { describeWith } from '../support/requirements.js';
import { Soak, faults } from '../../scripts/soak.d/soak.js';

const SECONDS = Number(process.env['VHOST_SOAK_SECONDS'] ?? 20);

describeWith(['vhost', 'tun', 'root'], 'a soak', () => {
  it(`of ${String(SECONDS)} s at full load both ways loses no frame and grows nothing`, async () => {
    const soak = new Soak();
    try {
      await soak.start();
      const span = (share: number) => once(AbortSignal.timeout(SECONDS * 1000 * share), 'abort');
      await span(1 / 2);
      const warm = soak.footprint();
      await span(1 / 2);
      const accounts = await soak.finish();
      assert.deepEqual(faults(accounts, warm, soak.footprint()), [], JSON.stringify(accounts));
    } finally {
      await soak.close();
    }
  }).timeout(SECONDS * 2000 + 60_000);
});
