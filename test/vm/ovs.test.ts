import assert from 'node:assert/strict';

import { Guest, guestFiles } from '../support/guest.js';
import { TestNetwork } from '../support/network.js';
import { OpenVSwitch } from '../support/open-vswitch.js';
import { processState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import { respond } from '../support/responder.js';
import { openPort } from '#lib/port/port';
import { Machine } from '#lib/vmm/machine';

/** Milliseconds for two boots and a switch, with a hypervisor below that is emulated. */
const BOOTS = 240_000;

describeWith(['kvm', 'vhost', 'tun', 'root', 'ovs'], 'machines on a bridge of Open vSwitch', () => {
  let network: TestNetwork;
  let ovs: OpenVSwitch;
  beforeEach(async () => {
    network = new TestNetwork();
    ovs = await OpenVSwitch.start(network);
    ovs.addBridge('br0');
    network.ip('link', 'set', 'br0', 'up');
  });
  const guests: Guest[] = [];
  afterEach(async () => {
    for (const guest of guests.splice(0)) await guest.stop();
    await ovs.close();
    network.close();
  });

  const plugged = (tap: string) => ({
    ...{ tap, netns: network.name },
    ovs: { bridge: 'br0', database: ovs.database },
  });

  async function boot(number: number): Promise<Guest> {
    const net = [
      { backend: plugged(`vm${String(number)}`), mac: `02:00:00:00:01:0${String(number)}` },
    ];
    const guest = await Guest.boot('6.1-cloud', { net });
    guests.push(guest);
    await guest.sh(`ip addr add 10.78.0.${String(number)}/24 dev eth0; ip link set eth0 up`);
    return guest;
  }

  it('reach each other, and a port of driver mode; nothing stays in the bridge', async () => {
    const state = processState();
    const port = await openPort({ backend: plugged('vp0') });
    respond(port, [2, 0, 0, 0, 1, 9]);
    const [first, second] = [await boot(1), await boot(2)];
    assert.deepEqual(ovs.ports('br0'), ['vm1', 'vm2', 'vp0']);
    for (const address of ['10.78.0.2', '10.78.0.9']) {
      const output = await first.sh(`ping -q -c 20 -i 0.1 -W 5 ${address}`);
      assert.match(output, /20 packets transmitted, 20 packets received/);
    }
    const make =
      'mkdir /tmp/www; head -c 2097152 /dev/urandom > /tmp/www/file; md5sum < /tmp/www/file';
    const sent = await second.sh(`${make}; httpd -p 80 -h /tmp/www`);
    assert.equal(await first.sh('wget -q -O - http://10.78.0.2/file | md5sum'), sent);
    for (const guest of [first, second]) await guest.stop();
    await port.close();
    assert.deepEqual(ovs.ports('br0'), []);
    assert.deepEqual(processState(), state);
  }).timeout(BOOTS);

  it('leave nothing in the bridge when they can not boot', async () => {
    const net = [
      { backend: plugged('vm1') },
      { backend: { packet: 'nowhere', netns: network.name } },
    ];
    await assert.rejects(Machine.boot({ ...guestFiles('6.1-cloud'), net }), { code: 'ENODEV' });
    assert.deepEqual(ovs.ports('br0'), []);
    assert.ok(!network.interfaces().includes('vm1'));
  });
});
