import assert from 'node:assert/strict';
import { once } from 'node:events';

import { TestNetwork } from '../support/network.js';
import { PatternFrames } from '../support/pattern.js';
import { describeWith } from '../support/requirements.js';
import { Scribbler } from '../support/scribble.js';
import { headerSize } from '#lib/dataplane/features';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';
import type { RepairReport } from '#lib/port/recovery';
import type { NetHeader } from '#lib/ring/net-header';

const SIZE = 64;
const TRANSMIT = 1;
const PLAIN = { flags: 0, gsoType: 0, hdrLen: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 };
const CHECKSUM = { ...PLAIN, flags: 1, csumStart: 34, csumOffset: 16 };
const SEGMENTS = { ...CHECKSUM, gsoType: 1, hdrLen: 54, gsoSize: 1 };

/**
 * Headers for a frame of 60 bytes that no port sends, and whether the worker spins over them. It takes the
 * 12 or 24 bytes of the header for part of the frame, and counts in 16 bits: what it lets through the tap drops.
 */
const POISON: readonly (readonly [what: string, header: NetHeader, spins: boolean])[] = [
  ['a checksum that begins behind the frame', { ...CHECKSUM, csumStart: 70 }, true],
  ['a checksum that lies across the end', { ...CHECKSUM, csumStart: 43 }, false],
  ['a checksum beyond 16 bits', { ...CHECKSUM, csumStart: 0xfff0 }, false],
  ['a checksum offset behind the frame', { ...CHECKSUM, csumOffset: 0xff00 }, true],
  ['flags that only a device sets', { ...PLAIN, flags: 2 }, false],
  ['headers longer than the frame', { ...PLAIN, hdrLen: 1000 }, false],
  ['a GSO type without a gsoSize', { ...SEGMENTS, gsoSize: 0 }, false],
  ['a GSO type without a checksum', { ...SEGMENTS, flags: 0 }, false],
  ['a GSO type with headers longer than the frame', { ...SEGMENTS, hdrLen: 61 }, false],
  ['a GSO type that does not exist', { ...SEGMENTS, gsoType: 0x7f }, false],
  ['ECN without a GSO type', { ...PLAIN, gsoType: 0x80 }, false],
];

for (const offloads of ['none', 'auto'] as const) {
  describeWith(['vhost', 'tun', 'root'], `poison headers, offloads: ${offloads}`, () => {
    let network: TestNetwork;
    let scribbler: Scribbler;
    let port: Port;
    const patterns = new PatternFrames([255, 255, 255, 255, 255, 255], [2, 0, 0, 0, 0, 0xa]);
    const frame = patterns.make(0);

    beforeEach(async () => {
      network = new TestNetwork();
      scribbler = new Scribbler();
      port = await openPort({
        backend: { tap: 'a', netns: network.name },
        queueSize: SIZE,
        offloads,
      });
    });
    afterEach(async () => {
      scribbler.close();
      await port.close();
      network.close();
    });

    /** Frames that the host received; what the port counted as lost is not among them. */
    function arrived(): number {
      return port.statistics().link.counters.receivePackets;
    }

    /** More frames than the ring has slots, each of which arrives: no slot is left poisoned. */
    async function works(): Promise<void> {
      const before = arrived();
      for (let sent = 0; sent < 3 * SIZE;) {
        if (port.send(frame)) sent++;
        else await once(port, 'drain');
      }
      await port.drained();
      assert.equal(arrived() - before, 3 * SIZE);
    }

    /** Sends a frame with what send() refuses, from behind its back, and nine good ones. */
    function poison(header: NetHeader): void {
      const reservation = port.reserve(frame.length);
      assert.ok(reservation);
      const { bytes } = reservation;
      bytes.set(frame);
      port.commit(reservation);
      const size = headerSize(port.statistics().features);
      const words = new DataView(bytes.buffer, bytes.byteOffset - size, size);
      words.setUint8(0, header.flags);
      words.setUint8(1, header.gsoType);
      for (const [i, word] of [
        header.hdrLen,
        header.gsoSize,
        header.csumStart,
        header.csumOffset,
      ].entries()) {
        words.setUint16(2 + 2 * i, word, true);
      }
      for (let i = 0; i < 9; i++) port.send(frame);
    }

    async function repaired(): Promise<RepairReport> {
      const began = performance.now();
      const signal = AbortSignal.timeout(10_000);
      const [report] = (await once(port, 'repair', { signal })) as [RepairReport];
      const took = performance.now() - began;
      assert.ok(took < 1000, `repaired after ${took.toFixed(0)} ms`);
      return report;
    }

    for (const [what, header, spins] of POISON) {
      it(`refuses ${what}; from behind its back it is ${spins ? 'repaired' : 'dropped'}`, async () => {
        assert.throws(() => port.send(frame, header), RangeError);
        const reservation = port.reserve(frame.length);
        assert.ok(reservation);
        assert.throws(() => port.commit(reservation, header), RangeError);
        port.cancel(reservation);
        assert.equal(port.statistics().transmit.frames, 0);
        await works();

        const before = arrived();
        poison(header);
        if (spins) {
          const { cause, message, unsent, unknown } = await repaired();
          assert.equal(cause, 'stuck', message);
          assert.deepEqual([unsent, unknown], [10, 0]);
        } else {
          await port.drained();
          assert.ok(arrived() - before >= 9, 'the frames behind it');
        }
        const { transmit, repairs } = port.statistics();
        assert.equal(repairs, spins ? 1 : 0);
        assert.equal(transmit.lost, spins ? 10 : 0);
        await works();
      });
    }

    it('refuses frames shorter than an Ethernet header and longer than the longest', () => {
      for (const length of [0, 1, 13, port.longestFrame + 1]) {
        assert.throws(() => port.send(new Uint8Array(length)), RangeError);
        assert.throws(() => port.reserve(length), RangeError);
      }
    });

    it('is repaired after chains shorter than the virtio-net header', async () => {
      await works();
      for (let i = 0; i < 10; i++) port.send(frame);
      scribbler.descriptors(TRANSMIT, SIZE, { length: 8 });
      const { cause, unsent, unknown } = await repaired();
      assert.deepEqual({ cause, unsent, unknown }, { cause: 'stuck', unsent: 10, unknown: 0 });
      await works();
    });
  });
}
