import assert from 'node:assert/strict';
import { once } from 'node:events';

import { BOOT } from '../support/guest.js';
import { TestNetwork } from '../support/network.js';
import { NetworkedGuest, countsSince } from '../support/networked-guest.js';
import type { WireCounts } from '../support/networked-guest.js';
import { describeWith } from '../support/requirements.js';
import type { CardFaults, EndFault } from '#lib/vmm/card-faults';

/** Times that each fault is there and ends again. */
const HOLDS = Number(process.env['VHOST_VM_HOLDS'] ?? 2);
const FLAPS = Number(process.env['VHOST_VM_FLAPS'] ?? 2);

/** Pings that are sent while something is held. */
const PROBES = 10;
/** Milliseconds for one time, where everything is emulated. */
const ROUND = 15_000;
/** Frames of a guest that sends as fast as it can, between one time and the next. */
const GENERATED = 1000;

/** Vectors as Linux has them. */
const CONFIG_VECTOR = 0;
const RECEIVE_VECTOR = 1;
const TRANSMIT_VECTOR = 2;

type BeginFault = (faults: CardFaults) => EndFault;

/** What is put in the way, and how many of the pings meanwhile are answered before it ends. */
const FAULTS: readonly (readonly [string, BeginFault, answered: number])[] = [
  ['receive ring is taken from the worker', (faults) => faults.holdRing('receive'), 0],
  ['transmit ring is taken from the worker', (faults) => faults.holdRing('transmit'), 0],
  ['receive completions are told late', (faults) => faults.holdCompletions('receive'), 0],
  ['receive vector is masked', (faults) => faults.holdVector(RECEIVE_VECTOR), 0],
  // For these a driver also looks whenever it sends.
  ['transmit completions are told late', (faults) => faults.holdCompletions('transmit'), PROBES],
  ['transmit vector is masked', (faults) => faults.holdVector(TRANSMIT_VECTOR), PROBES],
];

describeWith(['kvm', 'vhost', 'tun', 'root'], 'a machine whose card is interfered with', () => {
  let network: TestNetwork;
  let networked: NetworkedGuest;

  before(async function () {
    this.timeout(BOOT);
    network = new TestNetwork();
    networked = await NetworkedGuest.boot(network);
    await networked.pinNeighbours();
  });

  after(async () => {
    await networked.guest.stop();
    network.close();
  });

  const card = () => networked.guest.machine.card(0);

  async function during(begin: BeginFault, body: () => Promise<void>): Promise<void> {
    const end = begin(card().faults);
    try {
      await body();
    } finally {
      end();
    }
  }

  /** So many pings; how many were answered before the last of them was given up. */
  async function answered(count: number): Promise<number> {
    const pings = network.start(
      'ping',
      '-q',
      '-c',
      String(count),
      '-i',
      '0.01',
      '-W',
      '1',
      networked.address,
    );
    let said = '';
    pings.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await once(pings, 'close');
    return Number(/ (\d+) received/.exec(said)?.[1]);
  }

  /** What was counted while something happened, and pings went on beside it. */
  async function underTraffic(act: () => Promise<void>): Promise<WireCounts> {
    const before = await networked.counts();
    const pings = network.start('ping', '-q', '-i', '0.05', '-W', '1', networked.address);
    const ended = once(pings, 'close');
    await act();
    pings.kill('SIGINT');
    await ended;
    await networked.ping(50, '-i', '0.01');
    return countsSince(before, await networked.counts());
  }

  /** Every frame of either end is known at the other, and no request was lost. */
  function assertComplete(counts: WireCounts): void {
    assert.equal(counts.taken, counts.sent, 'frames of the guest');
    assert.equal(counts.received, counts.handed, 'frames for the guest');
    assert.equal(counts.seen, counts.requests, 'requests');
    assert.equal(card().statistics().device.faults, 0);
  }

  for (const [what, begin, answers] of FAULTS) {
    it(`comes back each of ${String(HOLDS)} times that its ${what}, and nothing is lost`, async () => {
      const counts = await underTraffic(async () => {
        for (let i = 0; i < HOLDS; i++) {
          await during(begin, async () => {
            assert.equal(await answered(PROBES), answers, 'answered meanwhile');
          });
          await networked.ping(20, '-i', '0.01');
        }
      });
      assertComplete(counts);
      assert.equal(counts.answers, counts.requests, 'answers, however late');
    }).timeout(BOOT + HOLDS * ROUND);
  }

  it(`comes back each of ${String(HOLDS)} times that its transmit ring is taken while it sends as fast as it can`, async () => {
    const counts = await underTraffic(async () => {
      await networked.generate();
      for (let i = 0; i < HOLDS; i++) {
        let frames = 0;
        await during(
          (faults) => faults.holdRing('transmit'),
          async () => {
            frames = networked.frames();
            assert.equal(await answered(PROBES), 0, 'answered meanwhile');
            assert.equal(networked.frames(), frames, 'what went out meanwhile');
          },
        );
        while (networked.frames() < frames + GENERATED) await networked.ping(1);
      }
      await networked.stopGenerating();
    });
    assertComplete(counts);
    assert.ok(counts.sent >= HOLDS * GENERATED, `${String(counts.sent)} frames`);
  }).timeout(BOOT + HOLDS * ROUND);

  /** Until the guest knows it. */
  async function carrier(state: 0 | 1): Promise<void> {
    const is = `[ $(cat /sys/class/net/eth0/carrier) = ${String(state)} ]`;
    await networked.guest.sh(`until ${is}; do usleep 50000; done`);
  }

  it(`comes back each of ${String(FLAPS)} times that its link goes down and up, and every frame is accounted for`, async () => {
    const counts = await underTraffic(async () => {
      for (let i = 0; i < FLAPS; i++) {
        card().setLink(false);
        await carrier(0);
        assert.equal(await answered(PROBES), 0, 'answered meanwhile');
        card().setLink(true);
        await carrier(1);
        await networked.ping(20, '-i', '0.01');
      }
    });
    // What the guest answers before it knows that the link is up again, it does not send.
    assertComplete(counts);
  }).timeout(BOOT + FLAPS * ROUND);

  it('learns of its link when the vector of the configuration is not masked any more', async () => {
    await during(
      (faults) => faults.holdVector(CONFIG_VECTOR),
      async () => {
        card().setLink(false);
        assert.equal(await networked.guest.sh('cat /sys/class/net/eth0/carrier'), '1');
      },
    );
    await carrier(0);
    card().setLink(true);
    await carrier(1);
    await networked.ping(20, '-i', '0.01');
  }).timeout(BOOT);
});
