import assert from 'node:assert/strict';

import { GuestNet } from '../support/guest-net.js';
import { TestNetwork } from '../support/network.js';
import { describeWith } from '../support/requirements.js';
import { openBackend } from '#lib/backend/open';
import type { BackendOptions } from '#lib/backend/open';
import { parseMac } from '#lib/sys/link';

/** Who has 10.9.0.1? 10.9.0.2 at this address asks. */
function arpRequest(mac: Uint8Array): Buffer {
  const from = Buffer.from(mac).toString('hex');
  const frame = `ffffffffffff${from}08060001080006040001${from}0a0900020000000000000a090001`;
  return Buffer.from(frame, 'hex');
}

describeWith(['vhost', 'tun', 'root'], 'a guest behind other backends than a tap', () => {
  let network: TestNetwork;

  beforeEach(() => {
    network = new TestNetwork();
    network.ip('link', 'add', 'va', 'type', 'veth', 'peer', 'name', 'vb');
    network.ip('address', 'add', '10.9.0.1/24', 'dev', 'vb');
    network.ip('link', 'set', 'vb', 'up');
    network.ip('link', 'set', 'va', 'up');
  });
  afterEach(() => {
    network.close();
  });

  const backends: readonly (readonly [string, (netns: string) => BackendOptions])[] = [
    ['a packet socket', (netns) => ({ packet: 'va', netns })],
    ['a macvtap', (netns) => ({ macvtap: 'mv0', link: 'va', netns })],
  ];
  for (const [what, options] of backends) {
    it(`has its frames carried both ways by ${what}, before and after a reset`, () => {
      const backend = openBackend(options(network.name));
      const mac = parseMac(backend.link().mac);
      assert.ok(mac);
      const guest = new GuestNet(backend, { mac });
      try {
        for (let round = 0; round < 2; round++) {
          guest.begin();
          guest.offerReceive();
          guest.send([arpRequest(mac)]);
          const reply = guest.receive();
          assert.equal(Buffer.from(reply).toString('hex', 28, 32), '0a090001');
          guest.reclaim(1);
          guest.driver.reset();
        }
        assert.deepEqual(guest.failures, []);
        assert.deepEqual(guest.faults, []);
      } finally {
        guest.close();
        backend.close();
      }
    });
  }
});
