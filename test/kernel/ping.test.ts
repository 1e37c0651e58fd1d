import assert from 'node:assert/strict';

import { TestNetwork } from '../support/network.js';
import { describeWith } from '../support/requirements.js';
import { respond } from '../support/responder.js';
import { openPort } from '#lib/port/port';

describeWith(['vhost', 'tun', 'root'], "ping through the kernel's vhost worker", () => {
  let network: TestNetwork;
  beforeEach(() => {
    network = new TestNetwork();
  });
  afterEach(() => {
    network.close();
  });

  it('answers 1,000 of 1,000, and every counter says so', async () => {
    const port = await openPort({
      backend: { tap: 'vn0', addresses: ['10.9.0.1/24'], netns: network.name },
    });
    respond(port);
    const report = await network.run('ping', '-c', '1000', '-i', '0.002', '-q', '10.9.0.2');
    assert.match(report, /1000 packets transmitted, 1000 received/);
    const { receive, transmit, link } = port.statistics();
    assert.ok(transmit.frames >= 1001, 'echo replies and an ARP reply');
    assert.equal(link.counters.receivePackets, transmit.frames);
    assert.equal(link.counters.transmitPackets, receive.frames);
    assert.equal(link.counters.receiveBytes, transmit.bytes);
    assert.equal(link.counters.transmitBytes, receive.bytes);
    assert.equal(link.counters.receiveDropped + link.counters.transmitDropped, 0);
    assert.equal(transmit.full, 0);
    await port.close();
    assert.deepEqual(network.interfaces(), ['lo']);
  });

  for (const [size, slots] of [
    [1472, 'in one slot'],
    [8972, 'over several slots, both ways'],
  ] as const) {
    it(`answers pings of ${String(size)} bytes ${slots}`, async () => {
      const port = await openPort({
        backend: { tap: 'vn0', addresses: ['10.9.0.1/24'], netns: network.name, mtu: 9000 },
      });
      respond(port);
      // One on its way at a time: what a busy host lets wait at ping's own socket may not fit there.
      const args = ['-c', '50', '-A', '-q', '-M', 'do', '-s', String(size), '10.9.0.2'];
      const report = await network.run('ping', ...args);
      const { receive, transmit, link } = port.statistics();
      const counted = JSON.stringify({ receive, transmit, link: link.counters });
      assert.match(report, /50 packets transmitted, 50 received/, counted);
      await port.close();
    });
  }
});
