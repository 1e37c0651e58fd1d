/** `scripts/soak` runs it where there is a vhost-net. Usage: main.js SECONDS */
import os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

import { MajorCollections } from './collections.js';
import { Soak, faults, unaccounted } from './soak.js';
import type { Account, Footprint } from './soak.js';

/** Seconds between two lines. */
const PERIOD = 10;

/** Seconds after which the footprint is what must not grow: code is compiled, heaps have their size. */
const WARM_UP = 20;

function line(seconds: number, accounts: readonly Account[], footprint: Footprint): string {
  const total = (key: keyof Account) => accounts.reduce((sum, account) => sum + account[key], 0);
  const { residentBytes, descriptors, mappings } = footprint;
  return (
    `${seconds.toFixed(0)} s: ${String(total('sent'))} sent, ${String(total('received'))} received, ` +
    `${String(total('dropped'))} dropped by the host; ${(residentBytes / 2 ** 20).toFixed(1)} MiB resident, ` +
    `${String(descriptors)} descriptors, ${String(mappings)} mappings`
  );
}

async function main(): Promise<void> {
  const seconds = Number(process.argv[2]);
  const soak = new Soak();
  const collections = new MajorCollections();
  try {
    await soak.start();
    const began = performance.now();
    const elapsed = () => (performance.now() - began) / 1000;
    let warm: Footprint | undefined;
    while (elapsed() < seconds) {
      await sleep(1000 * Math.min(PERIOD, seconds - elapsed()));
      const footprint = soak.footprint();
      if (!warm && elapsed() >= Math.min(WARM_UP, seconds / 2)) {
        warm = footprint;
        collections.count = 0;
      }
      console.log(line(elapsed(), soak.accounts(), footprint));
    }
    const directions = await soak.finish();
    const end = soak.footprint();
    const wrong = faults(directions, warm ?? end, end);
    const lost = unaccounted(directions);
    console.log(
      JSON.stringify({
        kernel: os.release(),
        seconds,
        directions,
        lost,
        warm,
        end,
        /** Of the whole heap, since it was warm. */
        collections: collections.count,
        faults: wrong,
      }),
    );
    process.exitCode = wrong.length === 0 ? 0 : 1;
  } finally {
    collections.close();
    await soak.close();
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
