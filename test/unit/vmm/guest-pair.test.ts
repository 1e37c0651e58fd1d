import assert from 'node:assert/strict';

import type {
  BackendQueue,
  QueuePair,
  QueuePairStart,
  RingName,
  VringPlacement,
} from '#lib/dataplane/queue-pair';
import { GuestMemory } from '#lib/memory/guest-memory';
import { splitLayout } from '#lib/ring/split-layout';
import { EventFd } from '#lib/sys/eventfd';
import { GuestPair } from '#lib/vmm/guest-pair';

const SIZE = 8;
const AT = 0x100000;
/** Where the second ring lies, behind the first. */
const SECOND = 0x1000;
const BYTES = 0x2000;
const START = { features: 0n, backend: {} as BackendQueue, workerPollMicroseconds: 0 };

/** What does with rings what a vhost descriptor does, and writes it down. */
class FakePair {
  readonly log: string[] = [];
  readonly receive = { kick: new EventFd() };
  readonly transmit = { kick: new EventFd() };
  readonly running = true;
  /** How far the worker has come with each ring. */
  readonly taken = { receive: 3, transmit: 5 };
  readonly #bound = new Set<RingName>();

  start({ receive, transmit }: QueuePairStart): void {
    if (receive) this.startRing('receive', receive);
    if (transmit) this.startRing('transmit', transmit);
  }

  startRing(ring: RingName, { base, call }: VringPlacement): void {
    this.#bound.add(ring);
    this.log.push(`start ${ring} at ${String(base)}${call ? '' : ', silent'}`);
  }

  stopRing(ring: RingName): number {
    this.#bound.delete(ring);
    this.log.push(`stop ${ring}`);
    return this.taken[ring];
  }

  stop(): void {
    this.#bound.clear();
    this.log.push('stop');
  }

  ringRuns(ring: RingName): boolean {
    return this.#bound.has(ring);
  }

  setCall(ring: RingName, event: EventFd | undefined): void {
    this.log.push(`${ring} ${event ? 'tells' : 'is silent'}`);
  }

  bases(): { receive: number; transmit: number } {
    return this.taken;
  }

  close(): void {
    this.receive.kick.close();
    this.transmit.kick.close();
  }
}

describe('GuestPair', () => {
  const { desc, avail, used } = splitLayout(SIZE);
  let buffer: ArrayBuffer;
  let vhost: FakePair;
  let call: EventFd;
  let pair: GuestPair;

  beforeEach(() => {
    buffer = new ArrayBuffer(BYTES);
    const region = { guestAddress: AT, hostAddress: 0n, buffer, byteLength: BYTES };
    vhost = new FakePair();
    call = new EventFd();
    pair = new GuestPair(new GuestMemory([region]), vhost as unknown as QueuePair);
  });
  afterEach(() => {
    pair.close();
    call.close();
  });

  function lay(ring: RingName): void {
    const at = AT + (ring === 'receive' ? 0 : SECOND);
    const parts = { desc: at + desc, avail: at + avail, used: at + used };
    pair.setUp(ring, { index: 0, size: SIZE, ...parts, call });
  }

  /** Both rings run, and what was said so far is forgotten. */
  function begin(): void {
    lay('receive');
    lay('transmit');
    pair.start(START);
    vhost.log.length = 0;
  }

  /** The worker has used what it took. */
  function useAll(): void {
    const words = new Uint16Array(buffer);
    words[used / 2 + 1] = vhost.taken.receive;
    words[(SECOND + used) / 2 + 1] = vhost.taken.transmit;
  }

  describe('a ring that is held', () => {
    it('is taken from the worker, and goes on where it was', () => {
      begin();
      pair.hold('transmit');
      assert.equal(pair.statistics('transmit').running, false);
      assert.equal(pair.statistics('receive').running, true);
      pair.release('transmit');
      assert.deepEqual(vhost.log, ['stop transmit', 'start transmit at 5']);
    });

    it('is not handed out by whatever else would do so', () => {
      pair.hold('receive');
      lay('receive');
      lay('transmit');
      pair.start(START);
      pair.tearDown('receive');
      lay('receive');
      assert.deepEqual(vhost.log, ['start transmit at 0']);
      pair.release('receive');
      assert.equal(vhost.log.at(-1), 'start receive at 0');
    });

    it('that its driver laid anew begins at the beginning, also after a pause', () => {
      begin();
      pair.hold('receive');
      pair.tearDown('receive');
      lay('receive');
      useAll();
      pair.pause();
      pair.start(START);
      pair.release('receive');
      assert.deepEqual(vhost.log.slice(-2), ['start transmit at 5', 'start receive at 0']);
    });

    it('is not there any more when the device was reset meanwhile', () => {
      begin();
      pair.hold('transmit');
      pair.stop();
      pair.release('transmit');
      assert.deepEqual(vhost.log, ['stop transmit', 'stop']);
    });

    it('is not started again when it was not held', () => {
      begin();
      pair.release('transmit');
      assert.deepEqual(vhost.log, []);
    });
  });

  describe('a ring of which nothing is told', () => {
    it('runs on, and tells at the end what was completed', () => {
      begin();
      pair.silence('receive');
      assert.equal(pair.statistics('receive').running, true);
      assert.equal(call.drain(), 0);
      pair.tell('receive');
      assert.deepEqual(vhost.log, ['receive is silent', 'receive tells']);
      assert.equal(call.drain(), 1);
    });

    it('stays so when the driver moves its vector, or the ring is stopped and started', () => {
      begin();
      pair.silence('receive');
      const next = new EventFd();
      pair.setCall('receive', next);
      useAll();
      pair.pause();
      pair.start(START);
      pair.tell('receive');
      assert.deepEqual(vhost.log, [
        ...['receive is silent', 'receive is silent', 'stop'],
        ...['start receive at 3, silent', 'start transmit at 5', 'receive tells'],
      ]);
      assert.equal(next.drain(), 1);
      next.close();
    });
  });
});
