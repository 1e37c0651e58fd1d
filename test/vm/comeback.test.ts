import assert from 'node:assert/strict';
import { once } from 'node:events';

import { BOOT, rebind } from '../support/guest.js';
import { TestNetwork } from '../support/network.js';
import { NetworkedGuest } from '../support/networked-guest.js';
import { machineThreads, processState } from '../support/process-state.js';
import type { ProcessState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';

const RESETS = Number(process.env['VHOST_VM_RESETS'] ?? 2);
const REBINDS = Number(process.env['VHOST_VM_REBINDS'] ?? 2);
const REBOOTS = Number(process.env['VHOST_VM_REBOOTS'] ?? 1);

describeWith(['kvm', 'vhost', 'tun', 'root'], 'a machine under traffic', () => {
  let state: ProcessState;
  let network: TestNetwork;
  let networked: NetworkedGuest;

  before(async function () {
    this.timeout(BOOT);
    state = processState();
    network = new TestNetwork();
    networked = await NetworkedGuest.boot(network, { queuePairs: 2 }, { cpus: 2 });
    // While the guest is away the host would give its address up, and a second of pings with it.
    await networked.pinNeighbours();
  });

  after(async () => {
    await networked.guest.stop();
    network.close();
  });

  /** Does something so many times while pings go on, and then each ping must be answered. */
  async function underTraffic(times: number, act: () => Promise<void>): Promise<void> {
    const pings = network.start('ping', '-q', '-i', '0.01', '-W', '1', networked.address);
    const ended = once(pings, 'close');
    for (let i = 0; i < times; i++) await act();
    pings.kill('SIGINT');
    await ended;
    await networked.ping(50, '-i', '0.01');
    assert.equal(networked.guest.machine.statistics().net[0]?.device.faults, 0);
  }

  it(`comes back each of ${String(RESETS)} times that its card is given up and set up anew, PCI function and all`, async () => {
    await underTraffic(RESETS, async () => {
      await networked.guest.sh(rebind('pci/drivers/virtio-pci', '0000:00:01.0'));
      await networked.up();
    });
  }).timeout(BOOT + RESETS * 20_000);

  it(`comes back each of ${String(REBINDS)} times that its network driver is taken off and put on`, async () => {
    const [name] = (await networked.guest.sh('ls /sys/bus/virtio/devices')).split(/\s+/);
    await underTraffic(REBINDS, async () => {
      await networked.guest.sh(rebind('virtio/drivers/virtio_net', String(name)));
      await networked.up();
    });
  }).timeout(BOOT + REBINDS * 20_000);

  it(`comes back each of ${String(REBOOTS)} times that the machine is rebooted`, async () => {
    await underTraffic(REBOOTS, async () => {
      networked.guest.machine.reboot();
      await networked.guest.ready();
      await networked.up();
    });
    assert.equal(networked.guest.machine.statistics().cycles, 1 + REBOOTS);
  }).timeout((1 + REBOOTS) * BOOT);

  it('leaves no thread, descriptor, mapping, interface or route when it has stopped', async () => {
    assert.notDeepEqual(machineThreads(), []);
    assert.match(network.ip('route'), /dev vm0/);
    await networked.guest.stop();
    assert.deepEqual(machineThreads(), []);
    assert.deepEqual(network.interfaces(), ['lo']);
    assert.equal(network.ip('route'), '');
    assert.deepEqual(processState(), state);
  }).timeout(BOOT);
});
