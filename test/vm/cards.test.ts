import assert from 'node:assert/strict';

import { BOOT, Guest } from '../support/guest.js';
import { TestNetwork } from '../support/network.js';
import { describeWith } from '../support/requirements.js';

const CARDS = [0, 1, 2];
const PINGS = 50;

/** Its driver's name for the card with this address. */
const NAME_OF = (mac: string) =>
  `for one in /sys/class/net/*; do grep -q ${mac} $one/address && echo \${one##*/}; done; true`;

describeWith(['kvm', 'vhost', 'tun', 'root'], 'a machine with several network cards', () => {
  let network: TestNetwork;
  let guest: Guest;

  const macOf = (card: number) => `02:00:00:00:01:0${String(card)}`;
  const addressOf = (card: number, host: number) => `10.78.${String(card)}.${String(host)}`;

  before(async function () {
    this.timeout(BOOT);
    network = new TestNetwork();
    const net = CARDS.map((card) => ({
      backend: {
        tap: `vm${String(card)}`,
        netns: network.name,
        addresses: [`${addressOf(card, 1)}/24`],
      },
      mac: macOf(card),
    }));
    guest = await Guest.boot('6.1-cloud', { net });
  });

  after(async () => {
    await guest.stop();
    network.close();
  });

  it('has each at work on its own network, and on no other', async () => {
    for (const card of CARDS) {
      const name = await guest.sh(NAME_OF(macOf(card)));
      await guest.sh(`ip addr add ${addressOf(card, 2)}/24 dev ${name}; ip link set ${name} up`);
    }
    const sent = () =>
      CARDS.map((card) => guest.machine.card(card).statistics().link?.counters.receivePackets ?? 0);
    for (const card of CARDS) {
      const before = sent();
      const all = ['-q', '-c', String(PINGS), '-i', '0.01', '-W', '5', addressOf(card, 2)];
      const said = await network.run('ping', ...all);
      assert.match(said, new RegExp(` ${String(PINGS)} received`));
      const frames = sent().map((count, other) => count - (before[other] ?? NaN));
      assert.ok((frames[card] ?? 0) >= PINGS, String(frames));
      const others = frames.filter((_, other) => other !== card);
      assert.ok(
        others.every((count) => count < PINGS / 2),
        String(frames),
      );
    }
  }).timeout(BOOT);

  it('tells of each apart, and moves the frames of each in a worker of its own', () => {
    const { net } = guest.machine.statistics();
    assert.deepEqual(
      net.map(({ link }) => link?.name),
      CARDS.map((card) => `vm${String(card)}`),
    );
    const tids = guest.machine.workers.map((worker) => worker?.tid);
    assert.equal(new Set(tids).size, CARDS.length);
  });
});
