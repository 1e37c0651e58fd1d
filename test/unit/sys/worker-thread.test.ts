import assert from 'node:assert/strict';

import { native } from '#lib/native';
import { WorkerThread } from '#lib/sys/worker-thread';

describe('WorkerThread, given a wrong value', () => {
  const vhost = native.vhostOpen('/dev/null');
  after(() => {
    vhost.close();
  });

  /** One that is gone: what is wrong is said all the same. */
  const worker = new WorkerThread({ tid: 1, name: 'vhost-1', kind: 'task' }, vhost);

  function refused(body: () => void, name: string, message: RegExp): void {
    assert.throws(body, { name, message });
  }

  it('names the CPUs', () => {
    refused(() => worker.setAffinity(0 as never), 'TypeError', /^cpus must be an array/);
    for (const wrong of [-1, 0.5, 8192, '0' as never]) {
      refused(() => worker.setAffinity([wrong]), 'RangeError', /^cpus must be integers in 0..8191/);
    }
    assert.throws(() => worker.setAffinity([0]), { code: 'ERR_VHOST_CLOSED' });
  });

  it('names what there is of a scheduling, and what there is not', () => {
    const set = (scheduling: unknown) => () => worker.setScheduling(scheduling as never);
    refused(set(undefined), 'TypeError', /^scheduling must be an object, got undefined/);
    refused(set(null), 'TypeError', /^scheduling must be an object, got null/);
    refused(set('fifo'), 'TypeError', /^scheduling must be an object/);
    refused(set({ prio: 5 }), 'TypeError', /^unknown option 'prio'; there are policy, priority/);
    refused(set({ policy: 'deadline' }), 'RangeError', /^policy must be other, fifo, rr/);
    refused(set({ policy: 'toString' }), 'RangeError', /^policy must be/);
    refused(set({ priority: 100 }), 'RangeError', /^priority must be an integer in 0..99/);
    refused(set({ nice: '1' }), 'TypeError', /^nice must be a number/);
    refused(set({ nice: -21 }), 'RangeError', /^nice must be an integer in -20..19/);
    assert.throws(set({ nice: 1 }), { code: 'ERR_VHOST_CLOSED' });
  });
});
