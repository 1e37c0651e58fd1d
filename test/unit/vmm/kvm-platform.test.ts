import assert from 'node:assert/strict';

import { VhostSystemError } from '#lib/errors';
import { EventFd } from '#lib/sys/eventfd';
import type { GsiRoute, KvmVm } from '#lib/sys/kvm';
import { KvmInterrupts } from '#lib/vmm/kvm-platform';

const EINVAL = 22;
const GOOD = { address: 0xfee00000n, data: 0x41 };
const BAD = { address: 0xfee00000n, data: 0xbad };

/** A virtual machine that refuses a table with a message that it does not like. */
class FakeVm {
  messages: number[] = [];

  setRouting(routes: readonly GsiRoute[]): void {
    const messages = routes.flatMap((route) => ('data' in route ? [route.data] : []));
    if (messages.includes(BAD.data)) {
      throw new VhostSystemError(EINVAL, 'ioctl', 'KVM_SET_GSI_ROUTING');
    }
    this.messages = messages;
  }
}

describe('the interrupt lines of a machine', () => {
  const vm = new FakeVm();
  const interrupts = new KvmInterrupts();
  interrupts.use(vm as unknown as KvmVm);
  const [first, second] = [interrupts.allocate(), interrupts.allocate()];

  it('go on when a guest chose a message for one of them that KVM refuses', () => {
    interrupts.route(first, GOOD);
    assert.throws(() => {
      interrupts.route(first, BAD);
    }, /KVM_SET_GSI_ROUTING/);
    interrupts.route(second, { ...GOOD, data: 0x42 });
    assert.deepEqual(vm.messages, [0x41, 0x42]);
  });

  it('are those of the next virtual machine as well, after such a message', () => {
    assert.throws(() => {
      interrupts.route(second, BAD);
    });
    const next = new FakeVm();
    interrupts.use(next as unknown as KvmVm);
    assert.deepEqual(next.messages, [0x41, 0x42]);
    interrupts.free(first);
    assert.deepEqual(next.messages, [0x42]);
  });

  it('are no more than a table has rows for, that of the pins included', () => {
    const MOST = 4096; // KVM_MAX_IRQ_ROUTES
    const lines = new KvmInterrupts();
    let rows = 0;
    const counting = { setRouting: (routes: readonly GsiRoute[]) => (rows = routes.length) };
    const taken: number[] = [];
    assert.throws(() => {
      for (;;) taken.push(lines.allocate());
    }, /all interrupt lines are taken/);
    for (const gsi of taken) lines.route(gsi, GOOD);
    lines.use(counting as unknown as KvmVm);
    assert.equal(rows, MOST);
    assert.ok(taken.every((gsi) => gsi < MOST));
  });

  it('carry nothing to a virtual machine that is gone', () => {
    interrupts.use(undefined);
    const event = new EventFd();
    interrupts.attach(second, event);
    event.signal();
    assert.equal(event.drain(), 1);
    event.close();
  });
});
