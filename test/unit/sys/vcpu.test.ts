import assert from 'node:assert/strict';

import { VhostSystemError } from '#lib/errors';
import { native } from '#lib/native';
import type { NativeDescriptor, NativeVcpu, NativeVcpuCallback } from '#lib/native';
import type { Kvm, KvmVm } from '#lib/sys/kvm';
import { Vcpu } from '#lib/sys/vcpu';
import type { VcpuBus } from '#lib/sys/vcpu';

const EAGAIN = 11;

const BUS: VcpuBus = {
  readPort: () => 0,
  writePort: () => undefined,
  readMemory: () => 0,
  writeMemory: () => undefined,
};

/** What stands in for KVM's: its thread is this one. */
class FakeVcpu implements Partial<NativeVcpu> {
  static refusal: Error | undefined;
  static callback: NativeVcpuCallback | undefined;

  start(callback: NativeVcpuCallback): void {
    if (FakeVcpu.refusal) throw FakeVcpu.refusal;
    FakeVcpu.callback = callback;
  }

  stop(): void {
    // Nothing runs.
  }
}

describe('a vCPU', () => {
  const { Vcpu: genuine } = native;
  const descriptor: NativeDescriptor = { fd: -1, close: () => undefined };
  let vcpu: Vcpu;

  beforeEach(() => {
    native.Vcpu = FakeVcpu as unknown as typeof genuine;
    FakeVcpu.refusal = FakeVcpu.callback = undefined;
    vcpu = new Vcpu(
      { descriptor } as unknown as Kvm,
      { descriptor, fd: -1 } as unknown as KvmVm,
      0,
    );
  });
  afterEach(() => {
    native.Vcpu = genuine;
  });

  it('runs from its start on until it says how it has ended', async () => {
    const ended = vcpu.start(BUS);
    assert.equal(vcpu.running, true);
    FakeVcpu.callback?.(-1, -1, 0, 0);
    assert.equal(vcpu.running, false);
    assert.deepEqual(await ended, { reason: 'stopped', detail: 'stopped' });
  });

  it('throws where it gets no thread: it does not run, and there is no end to wait for', () => {
    FakeVcpu.refusal = new VhostSystemError(EAGAIN, 'pthread_create', '');
    assert.throws(() => vcpu.start(BUS), { code: 'EAGAIN' });
    assert.equal(vcpu.running, false);
    assert.equal(vcpu.stop(), undefined);
  });
});
