import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import os from 'node:os';

import { INITIAL_RIGHTS, rightsOfWorker } from '../support/key-rights.js';
import { describeWith } from '../support/requirements.js';
import { VhostNet } from '#lib/sys/vhost-net';
import type { WorkerThread } from '#lib/sys/worker-thread';

const LIBRARY = createRequire(__filename).resolve('#lib/sys/vhost-net');
const [major = 0, minor = 0] = os.release().split('.').map(Number);
const WORKER_IS_TASK = major > 6 || (major === 6 && minor >= 4);

describeWith(['vhost', 'root'], 'a worker', () => {
  let vhost: VhostNet;
  beforeEach(() => {
    vhost = new VhostNet();
  });
  afterEach(() => {
    vhost.close();
  });

  /** The worker that the owner gets, of the kind it has here, or of the other if it may be chosen. */
  function worker(kind?: WorkerThread['kind']): WorkerThread {
    if (kind) vhost.setForkFromOwner(kind);
    vhost.setOwner();
    assert.ok(vhost.worker);
    return vhost.worker;
  }

  const kinds = WORKER_IS_TASK ? (['task', 'kthread'] as const) : [undefined];
  for (const kind of kinds) {
    describe(`of the kind ${kind ?? 'that there is'}`, () => {
      it('is alive until the descriptor closes, sleeps, and has used some CPU time', () => {
        const one = worker(kind);
        assert.equal(one.kind, kind ?? 'kthread');
        assert.equal(one.alive, true);
        assert.equal(one.sleeps, true);
        assert.ok((one.cpuTime ?? -1) >= 0);
        vhost.close();
        assert.equal(one.alive, false);
        assert.equal(one.sleeps, false);
        assert.equal(one.cpuTime, undefined);
        const closed = { code: 'ERR_VHOST_CLOSED' };
        assert.throws(() => one.affinity(), closed);
        assert.throws(() => one.setAffinity([0]), closed);
        assert.throws(() => one.scheduling(), closed);
        assert.throws(() => one.setScheduling({ nice: 1 }), closed);
      });

      it('is pinned to a CPU, and let go again', () => {
        const one = worker(kind);
        const all = one.affinity();
        assert.deepEqual(all, [...os.cpus().keys()]);
        one.setAffinity([1]);
        assert.deepEqual(one.affinity(), [1]);
        assert.throws(() => one.setAffinity([8000]), { code: 'EINVAL' });
        assert.throws(() => one.setAffinity([]), { code: 'EINVAL' });
        one.setAffinity(all);
        assert.deepEqual(one.affinity(), all);
      });

      it('has a policy, a priority and a niceness that can be set', () => {
        const one = worker(kind);
        assert.deepEqual(one.scheduling(), { policy: 'other', priority: 0, nice: 0 });
        one.setScheduling({ policy: 'fifo', priority: 5 });
        assert.deepEqual(one.scheduling(), { policy: 'fifo', priority: 5, nice: 0 });
        one.setScheduling({ policy: 'batch', nice: -3 });
        assert.deepEqual(one.scheduling(), { policy: 'batch', priority: 0, nice: -3 });
        assert.throws(() => one.setScheduling({ policy: 'rr' }), { code: 'EINVAL' });
        assert.throws(() => one.setScheduling({ priority: 5 }), { code: 'EINVAL' });
        const before = one.scheduling();
        assert.throws(() => one.setScheduling({ policy: 'batch', priority: 5, nice: 1 }));
        assert.deepEqual(one.scheduling(), before, 'nothing of what was refused');
      });
    });
  }

  it('refuses wrong values by name', () => {
    const one = worker();
    const wrong = (body: () => void, name: string, message: RegExp) =>
      assert.throws(body, { name, message });
    wrong(() => one.setAffinity(0 as unknown as number[]), 'TypeError', /^cpus must be an array/);
    wrong(() => one.setAffinity([0.5]), 'RangeError', /^cpus must be integers in 0..8191, got 0.5/);
    wrong(() => one.setScheduling({ policy: 'deadline' as 'rr' }), 'RangeError', /^policy must be/);
    wrong(() => one.setScheduling({ priority: 100 }), 'RangeError', /^priority must be/);
    wrong(
      () => one.setScheduling({ nice: '1' as unknown as number }),
      'TypeError',
      /^nice must be/,
    );
  });

  it('is found in a PID namespace where it is a thread of the process, and unknown elsewhere', () => {
    const script = `const { VhostNet } = require(${JSON.stringify(LIBRARY)});
      const vhost = new VhostNet();
      vhost.setOwner();
      console.log(vhost.worker === undefined ? 'unknown' : vhost.worker.affinity().length);`;
    const within = (...options: string[]) => {
      const args = ['--pid', '--fork', ...options, process.execPath, '-e', script];
      return execFileSync('unshare', args, { encoding: 'utf8' }).trim();
    };
    const cpus = String(os.cpus().length);
    assert.equal(within('--mount-proc'), WORKER_IS_TASK ? cpus : 'unknown');
    // Its /proc is that of the outer namespace, with other numbers.
    assert.equal(within(), 'unknown');
  });

  it('is forgotten with its owner, and another one after', () => {
    const first = worker();
    vhost.resetOwner();
    assert.equal(first.alive, false);
    assert.throws(() => first.setScheduling({ nice: 5 }), { code: 'ERR_VHOST_CLOSED' });
    const second = worker();
    assert.equal(second.alive, true);
    second.setScheduling({ nice: 5 });
    assert.equal(second.scheduling().nice, 5);
  });
});

describeWith(['vhost', 'keys', 'cpus'], 'a worker of a process with a protection key', () => {
  it('has the rights to memory of the kernel, and whoever calls for it keeps his own', () => {
    const [before, then, after] = rightsOfWorker();
    assert.equal(before?.[0], 'VHOST_GET_FEATURES');
    assert.notEqual(before[1], INITIAL_RIGHTS);
    assert.deepEqual(then, ['VHOST_SET_OWNER', INITIAL_RIGHTS]);
    assert.deepEqual(after, before);
  });
});
