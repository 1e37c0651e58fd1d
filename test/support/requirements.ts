import fs from 'node:fs';
import os from 'node:os';

import { whyNoOpenVSwitch } from './open-vswitch.js';
import { VhostNet } from '#lib/sys/vhost-net';
import { VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO } from '#lib/uapi/virtio-net';
import { has } from '#lib/uapi/virtio';

/** What a test may need of the machine. */
export type Need = 'vhost' | 'tun' | 'kvm' | 'root' | 'ovs' | 'tunnels' | 'keys' | 'cpus';

const NODES: Partial<Record<Need, string>> = {
  vhost: '/dev/vhost-net',
  tun: '/dev/net/tun',
  kvm: '/dev/kvm',
};

/** Needs that were promised: `VHOST_TEST_REQUIRE=vhost,tun`. */
const promised = new Set((process.env['VHOST_TEST_REQUIRE'] ?? '').split(',').filter(Boolean));

/** Long frames inside a UDP tunnel. */
function whyNoTunnels(): string | undefined {
  try {
    using vhost = new VhostNet();
    if (has(vhost.getFeaturesArray(), VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO)) return undefined;
    return 'vhost-net does not offer VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO';
  } catch (error) {
    return (error as Error).message;
  }
}

/** Protection keys: the processor has them, and the kernel uses them. */
function whyNoKeys(): string | undefined {
  const isUsed = / ospke( |$)/m.test(fs.readFileSync('/proc/cpuinfo', 'utf8'));
  return isUsed ? undefined : 'no memory protection keys (pkeys(7))';
}

function whyMissing(need: Need): string | undefined {
  if (need === 'keys') return whyNoKeys();
  if (need === 'cpus') return os.cpus().length > 1 ? undefined : 'one CPU alone';
  if (need === 'ovs') return whyNoOpenVSwitch();
  if (need === 'tunnels') return whyNoTunnels();
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
