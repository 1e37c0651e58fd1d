import assert from 'node:assert/strict';

import type { VcpuBus, VcpuEnd } from '#lib/sys/vcpu';
import { startVcpus } from '#lib/vmm/start-vcpus';
import type { StartableVcpu } from '#lib/vmm/start-vcpus';

const bus = {} as VcpuBus;
const STOPPED: VcpuEnd = { reason: 'stopped', detail: 'stopped' };

/** A vCPU whose thread ends when the test says so. */
class FakeVcpu implements StartableVcpu {
  #settle: (end: VcpuEnd) => void = () => undefined;
  readonly #log: string[];
  readonly #name: string;
  readonly #refusal: Error | undefined;

  constructor(log: string[], name: string, refusal?: Error) {
    this.#log = log;
    this.#name = name;
    this.#refusal = refusal;
  }

  start(): Promise<VcpuEnd> {
    this.#log.push(`start ${this.#name}`);
    if (this.#refusal) throw this.#refusal;
    return new Promise((resolve) => (this.#settle = resolve));
  }

  stop(): undefined {
    this.#log.push(`stop ${this.#name}`);
  }

  end(end: VcpuEnd): void {
    this.#settle(end);
  }
}

describe('startVcpus', () => {
  let log: string[];
  const refusal = new Error('pthread_create: EAGAIN');

  beforeEach(() => {
    log = [];
  });

  /** Whether it has settled by now. */
  async function isOver(ended: Promise<VcpuEnd>): Promise<boolean> {
    const pending = Symbol();
    // Promises are settled in turns: this one comes after those of what is looked at.
    const later = new Promise((resolve) => setImmediate(resolve, pending));
    return (await Promise.race([ended, later])) !== pending;
  }

  it('starts the first one last, and ends all of them when one has ended', async () => {
    const vcpus = ['0', '1', '2'].map((name) => new FakeVcpu(log, name));
    const { ended, refused } = startVcpus(vcpus, bus);
    assert.equal(refused, undefined);
    assert.deepEqual(log, ['start 2', 'start 1', 'start 0']);
    const end: VcpuEnd = { reason: 'shutdown', detail: 'triple fault' };
    vcpus[1]?.end(end);
    assert.equal(await isOver(ended), false, 'two threads are there');
    assert.deepEqual(log.slice(3), ['stop 0', 'stop 1', 'stop 2']);
    vcpus[0]?.end(STOPPED);
    vcpus[2]?.end(STOPPED);
    assert.deepEqual(await ended, end);
  });

  it('says what kept one from running, and ends those that run', async () => {
    const second = new FakeVcpu(log, '1');
    const { ended, refused } = startVcpus([new FakeVcpu(log, '0', refusal), second], bus);
    assert.equal(refused, refusal);
    assert.equal(await isOver(ended), false, 'a thread is there');
    assert.deepEqual(log, ['start 1', 'start 0', 'stop 0', 'stop 1']);
    second.end(STOPPED);
    assert.deepEqual(await ended, { reason: 'failed', detail: refusal.message });
  });

  it('throws where there is no thread at all', () => {
    const vcpus = [new FakeVcpu(log, '0'), new FakeVcpu(log, '1', refusal)];
    assert.throws(() => startVcpus(vcpus, bus), refusal);
    assert.deepEqual(log, ['start 1']);
  });
});
