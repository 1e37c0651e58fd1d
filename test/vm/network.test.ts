import assert from 'node:assert/strict';

import { Capture, checksums } from '../support/capture.js';
import { BOOT, rebind } from '../support/guest.js';
import { TestNetwork } from '../support/network.js';
import { NetworkedGuest } from '../support/networked-guest.js';
import { describeWith } from '../support/requirements.js';

const MEBIBYTES = Number(process.env['VHOST_VM_MEBIBYTES'] ?? 8);
/** Not the default. */
const QUEUE_SIZE = 512;
/** What a capture is asked for: every frame of it is looked at. */
const CAPTURED_KIBIBYTES = 256;

/** Feature bits of Virtio 1.2 §5.1.3 and §6 that Linux's driver takes when a tap can do all. */
const FEATURES = [0, 1, 3, 5, 7, 8, 11, 12, 15, 16, 17, 18, 28, 29, 32];

describeWith(['kvm', 'vhost', 'tun', 'root'], 'a network card of a machine', () => {
  let network: TestNetwork;
  let networked: NetworkedGuest;

  before(async function () {
    this.timeout(BOOT);
    network = new TestNetwork();
    networked = await NetworkedGuest.boot(network, { queueSize: QUEUE_SIZE });
  });

  after(async () => {
    await networked.guest.stop();
    network.close();
  });

  const inGuest = (command: string) => networked.guest.sh(command);

  it("is found by the guest's own driver: link, address, MTU, offloads", async () => {
    assert.equal(await inGuest('cat /sys/class/net/eth0/address'), networked.mac);
    assert.equal(await inGuest('cat /sys/class/net/eth0/mtu'), String(networked.mtu));
    assert.equal(await inGuest('cat /sys/class/net/eth0/carrier'), '1');
    const bits = await inGuest('cat /sys/bus/virtio/devices/virtio0/features');
    for (const bit of FEATURES) assert.equal(bits[bit], '1', `feature ${String(bit)} of ${bits}`);
    assert.match(await inGuest('cat /proc/interrupts'), /PCI-MSI.*virtio0-input/);
    const rings = await inGuest('ethtool -g eth0');
    assert.deepEqual(
      [...rings.matchAll(/^[RT]X:\s+(\d+)/gm)].map(([, size]) => Number(size)),
      new Array<number>(4).fill(QUEUE_SIZE),
      'what there can be, and what there is',
    );
  }).timeout(BOOT);

  it('answers 1,000 of 1,000 pings', async () => {
    await networked.ping(1000, '-i', '0.002');
  }).timeout(BOOT);

  /** A file of so many bytes over HTTP, each way; both must come whole. */
  async function bothWays(bytes: number): Promise<void> {
    const { host, address } = networked;
    const make = `cd /tmp/www; : > index.html; head -c ${String(bytes)} /dev/urandom > file; cd /`;
    const digest = (from: string) => `wget -q -O - http://${from}/file | md5sum`;
    network.sh(`mkdir -p /tmp/www; ${make}`);
    const server = network.start('busybox', 'httpd', '-f', '-p', `${host}:80`, '-h', '/tmp/www');
    try {
      await inGuest(`until wget -q -O /dev/null http://${host}/index.html; do usleep 50000; done`);
      assert.equal(await inGuest(digest(host)), network.sh('md5sum < /tmp/www/file').trim());
      const sent = await inGuest(`${make}; md5sum < /tmp/www/file`);
      const received = await network.run('sh', '-c', `busybox ${digest(address)}`);
      assert.equal(received.trim(), sent);
    } finally {
      server.kill();
    }
  }

  it('carries TCP both ways, with offloads, whole', async () => {
    await inGuest('mkdir -p /tmp/www; httpd -p 80 -h /tmp/www');
    await bothWays(MEBIBYTES << 20);
  }).timeout(BOOT + MEBIBYTES * 2000);

  it('carries TCP whose checksums are right on the wire, where neither end leaves them to a device', async () => {
    const { tap } = networked;
    await inGuest('ethtool -K eth0 tx off > /dev/null');
    network.exec('ethtool', '-K', tap, 'tx', 'off');
    const capture = await Capture.start(network, tap, 'tcp');
    await bothWays(CAPTURED_KIBIBYTES << 10);
    const frames = await capture.end();
    for (const from of [networked.host, networked.address]) {
      const source = new RegExp(` ${from}\\.\\d+ > `);
      const { right, wrong } = checksums(frames.filter((frame) => source.test(frame)));
      assert.deepEqual(wrong, []);
      assert.ok(right > CAPTURED_KIBIBYTES / 2, `${String(right)} frames of ${from}`);
    }
    await inGuest('ethtool -K eth0 tx on > /dev/null');
    network.exec('ethtool', '-K', tap, 'tx', 'on');
  }).timeout(BOOT);

  it('has rings of another size when its driver wants them, each reset by itself', async () => {
    const sizes = () => {
      const [pair] = networked.guest.machine.card(0).statistics().device.pairs;
      return [pair?.receive.size, pair?.transmit.size];
    };
    assert.deepEqual(sizes(), [QUEUE_SIZE, QUEUE_SIZE]);
    await inGuest('ethtool -G eth0 rx 256 tx 128');
    assert.deepEqual(sizes(), [256, 128]);
    await networked.ping(100, '-i', '0.005');
  }).timeout(BOOT);

  it('is told of a cable pulled and put back', async () => {
    const card = networked.guest.machine.card(0);
    const carrier = (state: number) =>
      inGuest(
        `until [ $(cat /sys/class/net/eth0/carrier) = ${String(state)} ]; do usleep 50000; done`,
      );
    card.setLink(false);
    await carrier(0);
    card.setLink(true);
    await carrier(1);
    await networked.ping(20, '-i', '0.01');
  }).timeout(BOOT);

  it('is spared frames for others, unless its driver wants them', async () => {
    const card = networked.guest.machine.card(0);
    const dropped = () => card.statistics().link?.counters.transmitDropped ?? NaN;
    const stranger = '10.77.0.9';
    const mac = '02:00:00:00:00:09';
    network.ip('neigh', 'replace', stranger, 'lladdr', mac, 'dev', networked.tap);
    const send = () => network.exec('bash', '-c', `echo > /dev/udp/${stranger}/9`);
    for (const promiscuous of [false, true, false]) {
      await inGuest(`ifconfig eth0 ${promiscuous ? '' : '-'}promisc`);
      assert.equal(card.statistics().device.filtering, !promiscuous);
      const before = dropped();
      send();
      assert.equal(dropped() - before, promiscuous ? 0 : 1);
    }
  }).timeout(BOOT);

  it('says where it is when it is asked to', async () => {
    const { machine } = networked.guest;
    const commands = () => machine.statistics().net[0]?.device.control.commands ?? 0;
    const { address, tap } = networked;
    const capture = await Capture.start(network, tap, 'arp');
    const before = commands();
    assert.equal(machine.card(0).announce(), true);
    while (commands() === before) await inGuest('usleep 50000');
    await networked.ping(1);
    const gratuitous = new RegExp(`who-has ${address} .*tell ${address}|Announcement ${address}`);
    const said = (await capture.end()).filter((frame) => gratuitous.test(frame));
    assert.ok(said.length > 0, 'gratuitous ARP');
  }).timeout(BOOT);

  it('has another address and MTU when its driver begins anew', async () => {
    const card = networked.guest.machine.card(0);
    card.setMac('02:00:00:00:00:07');
    card.setMtu(networked.mtu - 100);
    const name = await inGuest('ls /sys/bus/virtio/devices');
    await inGuest(rebind('virtio/drivers/virtio_net', name));
    await networked.up();
    assert.equal(await inGuest('cat /sys/class/net/eth0/address'), '02:00:00:00:00:07');
    assert.equal(await inGuest('cat /sys/class/net/eth0/mtu'), String(networked.mtu - 100));
    network.ip('neigh', 'flush', 'dev', networked.tap);
    await networked.ping(20, '-i', '0.01');
  }).timeout(BOOT);
});
