import assert from 'node:assert/strict';
import { once } from 'node:events';

import { Guest } from '../support/guest.js';
import { TestNetwork } from '../support/network.js';
import { processState } from '../support/process-state.js';
import type { ProcessState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import type { MachineStatistics } from '#lib/vmm/machine-statistics';

const MAC = '02:00:00:00:00:02';
const HOST = '10.77.0.1';
const GUEST = '10.77.0.2';

/** Milliseconds for a boot, with a hypervisor below that is emulated. */
const BOOT = 100_000;
const SECONDS_BLOCKED = 2;
const REBINDS = Number(process.env['VHOST_VM_REBINDS'] ?? 5);
const REBOOTS = Number(process.env['VHOST_VM_REBOOTS'] ?? 1);

/** Stops this thread, and with it the event loop. */
function block(seconds: number): void {
  const end = Date.now() + 1000 * seconds;
  while (Date.now() < end);
}

/** The counters once the guest has done with its console: its driver has a last look at it. */
async function atRest(guest: Guest): Promise<MachineStatistics> {
  for (;;) {
    const before = guest.machine.statistics();
    await new Promise((resolve) => setTimeout(resolve, 300));
    if (guest.machine.statistics().calls === before.calls) return before;
  }
}

describeWith(['kvm', 'vhost', 'tun', 'root'], 'a network card of a machine', () => {
  let before_: ProcessState;
  let network: TestNetwork;
  let guest: Guest;

  before(async function () {
    this.timeout(BOOT);
    before_ = processState();
    network = new TestNetwork();
    guest = await Guest.boot('6.1-cloud', {
      net: [
        {
          backend: { tap: 'vm0', netns: network.name, addresses: [`${HOST}/24`], mtu: 1400 },
          mac: MAC,
        },
      ],
    });
    await up();
  });

  after(async () => {
    await guest.stop();
    network.close();
  });

  /** Gives the guest its address. */
  async function up(): Promise<void> {
    await guest.sh(`ip addr add ${GUEST}/24 dev eth0; ip link set eth0 up`);
  }

  async function ping(count: number, interval: number): Promise<void> {
    const output = await network.run(
      ...(['ping', '-q', '-c', String(count), '-i', String(interval), '-W', '5', GUEST] as const),
    );
    assert.match(
      output,
      new RegExp(`${String(count)} packets transmitted, ${String(count)} received`),
    );
  }

  it("is found by the guest's own driver: link, address, MTU, offloads", async () => {
    assert.equal(await guest.sh('cat /sys/class/net/eth0/address'), MAC);
    assert.equal(await guest.sh('cat /sys/class/net/eth0/mtu'), '1400');
    assert.equal(await guest.sh('cat /sys/class/net/eth0/carrier'), '1');
    const bits = await guest.sh('cat /sys/bus/virtio/devices/virtio0/features');
    const has = (bit: number) => bits[bit] === '1';
    for (const bit of [0, 1, 3, 5, 7, 8, 11, 12, 15, 16, 17, 28, 29, 32]) {
      assert.ok(has(bit), `feature ${String(bit)} of ${bits}`);
    }
    assert.match(await guest.sh('cat /proc/interrupts'), /PCI-MSI.*virtio0-input/);
  }).timeout(BOOT);

  it('answers 1,000 of 1,000 pings', async () => {
    await ping(1000, 0.002);
  }).timeout(BOOT);

  it('carries TCP both ways, with offloads, whole', async () => {
    const make = "mkdir -p /tmp/www; head -c 8388608 /dev/zero | tr '\\0' x > /tmp/www/file";
    network.sh(make);
    const digest = network.sh('md5sum < /tmp/www/file').trim();
    const server = network.start('busybox', 'httpd', '-f', '-p', `${HOST}:80`, '-h', '/tmp/www');
    try {
      const fetch = (from: string) => `wget -q -O - http://${from}/file | md5sum`;
      await guest.sh(`while ! wget -q -O /dev/null http://${HOST}/file; do sleep 0.2; done`);
      assert.equal(await guest.sh(fetch(HOST)), digest);
      await guest.sh(`${make}; httpd -p 80 -h /tmp/www`);
      assert.equal((await network.run('sh', '-c', `busybox ${fetch(GUEST)}`)).trim(), digest);
    } finally {
      server.kill();
    }
  }).timeout(BOOT);

  it('moves frames without an exit to user space for a doorbell or an interrupt', async () => {
    // Whatever leaves the kernel is counted, and by the kernel itself too.
    const before = await atRest(guest);
    await network.run('ping', '-q', '-f', '-c', '5000', GUEST);
    const after = guest.machine.statistics();
    const frames =
      (after.net[0]?.link?.counters.receivePackets ?? 0) -
      (before.net[0]?.link?.counters.receivePackets ?? 0);
    assert.ok(frames >= 5000, `${String(frames)} frames`);
    assert.equal(after.calls, before.calls, 'calls into JavaScript');
    assert.deepEqual(after.exits, before.exits, 'exits');
    assert.equal(after.net[0]?.pci.notifications, before.net[0]?.pci.notifications);
    assert.equal(after.kvm['mmio_exits'], before.kvm['mmio_exits'], "the kernel's own count");
  }).timeout(BOOT);

  it('goes on while the JavaScript thread is blocked for two seconds', async () => {
    const count = String(SECONDS_BLOCKED * 400);
    const pings = network.run('ping', '-q', '-i', '0.002', '-c', count, '-W', '5', GUEST);
    block(SECONDS_BLOCKED);
    const [, average] = /= [\d.]+\/([\d.]+)\//.exec(await pings) ?? [];
    assert.ok(Number(average) < 500, `an answer took ${String(average)} ms`);
  }).timeout(BOOT);

  it('is told of a cable pulled and put back', async () => {
    guest.machine.setLink(0, false);
    await guest.sh('while [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do sleep 0.05; done');
    guest.machine.setLink(0, true);
    await guest.sh('while [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do sleep 0.05; done');
    await ping(20, 0.01);
  }).timeout(BOOT);

  it(`comes back each of ${String(REBINDS)} times that its driver is taken off and put on, under traffic`, async () => {
    const flood = network.start('ping', '-q', '-i', '0.01', '-W', '1', GUEST);
    const ended = once(flood, 'close');
    for (let i = 0; i < REBINDS; i++) {
      await guest.sh(
        'cd /sys/bus/virtio/drivers/virtio_net; echo virtio0 > unbind; echo virtio0 > bind; cd /',
      );
      await up();
    }
    flood.kill('SIGINT');
    await ended;
    await ping(50, 0.01);
    assert.equal(guest.machine.statistics().net[0]?.device.faults, 0);
  }).timeout(BOOT);

  it(`comes back each of ${String(REBOOTS)} times that the machine is rebooted, under traffic`, async () => {
    const flood = network.start('ping', '-q', '-i', '0.01', '-W', '1', GUEST);
    const ended = once(flood, 'close');
    for (let i = 0; i < REBOOTS; i++) {
      guest.machine.reboot();
      await guest.ready();
      await up();
    }
    flood.kill('SIGINT');
    await ended;
    await ping(50, 0.01);
  }).timeout(REBOOTS * BOOT);

  it('leaves no thread, descriptor, mapping or interface when the machine has stopped', async () => {
    await guest.stop();
    assert.deepEqual(network.interfaces(), ['lo']);
    assert.deepEqual(processState(), before_);
  }).timeout(BOOT);
});
