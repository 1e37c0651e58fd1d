import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';

import { SoftDevice } from '../../support/soft-device.js';
import { Arena } from '#lib/port/arena';
import { Frame } from '#lib/port/frame';
import { TransmitPath } from '#lib/port/transmit-path';
import { DriverQueue } from '#lib/ring/driver-queue';
import { EventFd } from '#lib/sys/eventfd';

const SIZE = 16;

/** A port's transmit side, with a device that reads at once whatever it is told of. */
class Sender {
  readonly path: TransmitPath;
  readonly #device: SoftDevice;
  readonly #events = { kick: new EventFd(), call: new EventFd(), err: new EventFd() };
  readonly #arena = Arena.allocate({ queueSize: SIZE, slotPayload: 1518 });

  constructor() {
    const ring = { size: SIZE, eventIdx: true };
    this.#device = new SoftDevice(this.#arena.ringBuffer, 0, SIZE, ring);
    this.path = new TransmitPath({
      port: new EventEmitter(),
      queue: new DriverQueue(this.#arena.ringBuffer, 0, ring),
      slots: this.#arena.transmitSlots,
      events: this.#events as never,
      limits: { longest: 1518, checksums: false, gsoTypes: 0 },
      onFault: (fault) => assert.fail(fault.message),
      connect: (arena) => {
        arena.lendTo({
          evict: () => undefined,
          giveBack: () => {
            this.path.reclaim();
          },
          hasten: () => {
            this.path.hasten();
          },
        });
        return true;
      },
    });
    this.path.start();
  }

  forward(frame: Frame): void {
    assert.equal(this.path.forward(frame), true);
    this.path.flush();
    for (let chain = this.#device.pop(); chain; chain = this.#device.pop()) {
      this.#device.push(chain.head, 0);
      if (this.#device.publish()) this.#events.call.signal();
    }
  }

  close(): void {
    this.path.close();
    for (const event of Object.values(this.#events)) event.close();
    this.#arena.close();
  }
}

describe('Loans', () => {
  for (const senders of [1, 5]) {
    it(`leave a receive ring the greater part of its slots, however many send from it: ${String(senders)}`, async () => {
      const lender = Arena.allocate({ queueSize: SIZE, slotPayload: 1518 });
      const out = new Set<Frame>();
      const ports = Array.from({ length: senders }, () => new Sender());
      const owner = { busyFrames: 0, reclaim: (frame: Frame) => out.delete(frame) };
      for (let i = 0; i < 8 * SIZE; i++) {
        const frame = new Frame(lender.receiveSlots, owner, i % SIZE);
        frame.length = frame.firstLength = 60;
        out.add(frame);
        ports[i % senders]?.forward(frame);
        frame.settle();
        await new Promise((resolve) => setImmediate(resolve));
        assert.ok(out.size <= SIZE / 2, `${String(out.size)} of ${String(SIZE)} slots are out`);
      }
      for (const port of ports) port.close();
      lender.close();
    });
  }

  it('are asked back from a ring of two, and then no more calls are waited for', async () => {
    const lender = Arena.allocate({ queueSize: 2, slotPayload: 1518 });
    const sender = new Sender();
    let back = 0;
    const frame = new Frame(lender.receiveSlots, { busyFrames: 0, reclaim: () => back++ }, 0);
    frame.length = frame.firstLength = 60;
    sender.forward(frame);
    frame.settle();
    while (back === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(lender.receiveSlots.pressing, false);
    assert.equal(sender.path.statistics().inFlight, 0);
    sender.close();
    lender.close();
  });
});
