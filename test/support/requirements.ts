import fs from 'node:fs';

import { whyNoOpenVSwitch } from './open-vswitch.js';

/** What a test may need of the machine. */
export type Need = 'vhost' | 'tun' | 'kvm' | 'root' | 'ovs';

const NODES: Partial<Record<Need, string>> = {
  vhost: '/dev/vhost-net',
  tun: '/dev/net/tun',
  kvm: '/dev/kvm',
};

/** Needs that were promised: `VHOST_TEST_REQUIRE=vhost,tun`. */
const promised = new Set((process.env['VHOST_TEST_REQUIRE'] ?? '').split(',').filter(Boolean));

function whyMissing(need: Need): string | undefined {
  if (need === 'ovs') return whyNoOpenVSwitch();
  if (need === 'root') return process.getuid?.() === 0 ? undefined : 'not root';
  const path = NODES[need] ?? '';
  try {
    fs.closeSync(fs.openSync(path, 'r+'));
    return undefined;
  } catch (error) {
    return `${path} is not usable: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`;
  }
}

/**
 * `describe` for tests that need something of the machine. What is missing is a skip that says why;
 * what is missing although it was promised is a failure.
 */
export function describeWith(
  needs: readonly Need[],
  title: string,
  body: (this: Mocha.Suite) => void,
): void {
  const missing = needs.flatMap((need) => {
    const why = whyMissing(need);
    return why === undefined ? [] : [{ need, why }];
  });
  const broken = missing.find(({ need }) => promised.has(need));
  if (broken) throw new Error(`VHOST_TEST_REQUIRE promises ${broken.need}, but ${broken.why}`);
  if (missing.length === 0) describe(title, body);
  else describe.skip(`${title} [${missing.map(({ why }) => why).join('; ')}]`, body);
}

/**
 * `it` for what takes longest beside tests that say nearly the same: left out, visibly, where
 * `VHOST_TEST_SHORT` is set.
 */
export const itLong = process.env['VHOST_TEST_SHORT'] === undefined ? it : it.skip;
