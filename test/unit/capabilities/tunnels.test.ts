import assert from 'node:assert/strict';

import { findTunnels } from '#lib/capabilities/tunnels';
import { featureBits } from '#lib/uapi/features';

const VHOST = { features: featureBits((1n << 32n) | (1n << 65n) | (1n << 67n)) };
const TAP = { offloads: ['TUN_F_CSUM', 'TUN_F_UDP_TUNNEL_GSO'] };

describe('findTunnels()', () => {
  it('finds them where vhost and tap both have them', () => {
    assert.equal(findTunnels(VHOST, TAP).ok, true);
  });

  const lacks: readonly (readonly [
    what: string,
    why: RegExp,
    ...of: Parameters<typeof findTunnels>,
  ])[] = [
    ['vhost-net', /a device could not be opened/, undefined, TAP],
    ['tun', /a device could not be opened/, VHOST, undefined],
    [
      'both bits',
      /vhost-net does not offer it, Linux 6\.17/,
      { features: featureBits(1n << 32n) },
      TAP,
    ],
    ['one bit', /vhost-net does not offer it/, { features: featureBits(1n << 65n) }, TAP],
    ['the right to make a tap', /no tap could be made/, VHOST, { offloads: undefined }],
    ['the flag of taps', /taps do not take it/, VHOST, { offloads: ['TUN_F_CSUM'] }],
  ];
  for (const [what, why, vhost, tap] of lacks) {
    it(`says what is missing: ${what}`, () => {
      const { ok, detail } = findTunnels(vhost, tap);
      assert.equal(ok, false);
      assert.match(detail, why);
    });
  }
});
