import assert from 'node:assert/strict';
import os from 'node:os';

import { TestNetwork } from '../support/network.js';
import { BUFFERS_AT, RING_SIZE, RawDevice, signalled } from '../support/raw-device.js';
import { describeWith } from '../support/requirements.js';
import { EventFd } from '#lib/sys/eventfd';
import { vhostParameters } from '#lib/sys/module-parameters';
import { Pages } from '#lib/sys/pages';
import { Tun } from '#lib/sys/tun';
import type { VhostNet } from '#lib/sys/vhost-net';
import { VHOST_BACKEND_F_IOTLB_MSG_V2, VHOST_F_LOG_ALL } from '#lib/uapi/vhost';
import { VIRTIO_NET_F_MRG_RXBUF } from '#lib/uapi/virtio-net';
import { VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1, bit, has } from '#lib/uapi/virtio';

/** What kernels differ in, by the version of the one that runs. */
const [major = 0, minor = 0] = os.release().split('.').map(Number);
const since = (wanted: number, least: number) =>
  major > wanted || (major === wanted && minor >= least);
const HAS_FEATURES_ARRAY = since(6, 17);
const HAS_FORK_FROM_OWNER = since(6, 12);

const UNSUPPORTED = { code: 'ERR_VHOST_UNSUPPORTED' };
const FEATURES = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_NET_F_MRG_RXBUF);
const PAGE = 4096n;

describeWith(['vhost', 'tun', 'root'], 'the ioctls of vhost-net', () => {
  let device: RawDevice;
  let vhost: VhostNet;
  beforeEach(() => {
    device = new RawDevice();
    vhost = device.vhost;
  });
  afterEach(() => {
    device.close();
  });

  const worker = () => vhost.worker?.tid;

  describe('SET_OWNER and RESET_OWNER', () => {
    it('only features are asked for and set without an owner', () => {
      const eperm = { code: 'EPERM' };
      vhost.setFeatures(vhost.getFeatures() & ~bit(VHOST_F_LOG_ALL));
      assert.throws(() => vhost.resetOwner(), eperm);
      assert.throws(() => vhost.setMemTable([device.row]), eperm);
      assert.throws(() => vhost.setLogFd(undefined), eperm);
      assert.throws(() => vhost.setLogBase({ ...device.row, byteLength: PAGE }), eperm);
      assert.throws(() => vhost.setVringNum(0, 1), eperm);
      assert.throws(() => vhost.setVringBase(0, 0), eperm);
      assert.throws(() => vhost.getVringBase(0), eperm);
      assert.throws(() => vhost.setVringAddr(0, device.addresses(0)), eperm);
      assert.throws(() => vhost.setVringKick(0, undefined), eperm);
      assert.throws(() => vhost.setVringCall(0, undefined), eperm);
      assert.throws(() => vhost.setVringErr(0, undefined), eperm);
      assert.throws(() => vhost.setVringBusyloopTimeout(0, 1), eperm);
      assert.throws(() => vhost.getVringBusyloopTimeout(0), eperm);
      assert.throws(() => vhost.setVringEndian(0, 'little'), eperm);
      assert.throws(() => vhost.getVringEndian(0), eperm);
      assert.throws(() => vhost.setBackend(0, undefined), eperm);
    });

    it('the device can be given up and owned again, and forgets all but itself', () => {
      vhost.setOwner();
      const first = worker();
      vhost.setMemTable([device.row]);
      device.setUp(0);
      vhost.setBackend(0, undefined);
      vhost.setVringBusyloopTimeout(0, 50);
      vhost.resetOwner();
      assert.equal(worker(), undefined);
      assert.throws(() => vhost.getVringBase(0), { code: 'EPERM' });
      vhost.setOwner();
      assert.ok(worker() !== undefined && worker() !== first);
      vhost.setBackend(0, undefined); // An empty table is a table: without one it would be EFAULT.
      using eventfd = new EventFd();
      assert.throws(() => vhost.setBackend(0, eventfd), RangeError); // Nobody knows the ring.
      assert.equal(vhost.getVringBusyloopTimeout(0), 0);
    });

    it('pages are let go of when the owner is', () => {
      vhost.setOwner();
      const mapped = Pages.allocate({ byteLength: 4096 });
      vhost.setMemTable([{ guestAddress: 0n, byteLength: PAGE, hostAddress: mapped.address }]);
      mapped.close();
      vhost.setMemTable([{ guestAddress: 0n, byteLength: PAGE, hostAddress: mapped.address }]);
      vhost.resetOwner();
      vhost.setOwner();
      const again = () =>
        vhost.setMemTable([{ guestAddress: 0n, byteLength: PAGE, hostAddress: mapped.address }]);
      assert.throws(again, RangeError);
    });
  });

  describe('FEATURES, FEATURES_ARRAY, BACKEND_FEATURES', () => {
    it('an unknown bit is refused, in each', () => {
      const refused = { code: 'ENOTSUP' };
      assert.throws(() => vhost.setFeatures(bit(5)), refused);
      assert.throws(() => vhost.setBackendFeatures(bit(0)), refused);
      assert.throws(
        () => vhost.setFeaturesArray(bit(66)),
        HAS_FEATURES_ARRAY ? refused : UNSUPPORTED,
      );
      assert.throws(
        () => vhost.setFeaturesArray(bit(500)),
        HAS_FEATURES_ARRAY ? refused : UNSUPPORTED,
      );
    });

    it('the array begins with the features, and can be set; or it is not there, with an owner and without', () => {
      if (HAS_FEATURES_ARRAY) {
        const features = vhost.getFeaturesArray();
        assert.equal(features & (bit(64) - 1n), vhost.getFeatures());
        assert.ok(has(features, 65) && has(features, 67));
        vhost.setFeaturesArray(FEATURES | bit(65));
        vhost.setFeaturesArray(FEATURES);
        return;
      }
      assert.throws(() => vhost.getFeaturesArray(), UNSUPPORTED);
      vhost.setOwner();
      assert.throws(() => vhost.getFeaturesArray(), UNSUPPORTED);
      assert.throws(() => vhost.setFeaturesArray(0n), UNSUPPORTED);
    });

    it('what hides that a request is unknown is the cause', () => {
      const cause = () => {
        try {
          vhost.getFeaturesArray();
        } catch (error) {
          return ((error as Error).cause as { code: string }).code;
        }
        return 'supported';
      };
      const before = cause();
      vhost.setOwner();
      const found = [before, cause()];
      assert.deepEqual(
        found,
        HAS_FEATURES_ARRAY ? ['supported', 'supported'] : ['EPERM', 'ENOBUFS'],
      );
    });

    it('VHOST_F_LOG_ALL is taken before there is memory, whose rows are then held to the log', () => {
      vhost.setOwner();
      vhost.setFeatures(FEATURES | bit(VHOST_F_LOG_ALL));
      assert.throws(() => vhost.setMemTable([device.row]), RangeError);
      vhost.setMemTable([]);
    });

    it('with VIRTIO_F_ACCESS_PLATFORM no ring starts without a translation', () => {
      vhost.setOwner();
      vhost.setMemTable([device.row]);
      vhost.setFeatures(FEATURES | bit(VIRTIO_F_ACCESS_PLATFORM));
      device.setUp(0);
      const network = new TestNetwork();
      try {
        using tap = RawDevice.tap(network.name);
        assert.throws(() => vhost.setBackend(0, tap.queues[0]), { code: 'EFAULT' });
      } finally {
        network.close();
      }
    });

    it('vhost itself offers the second form of IOTLB messages, and nothing else', () => {
      assert.equal(vhost.getBackendFeatures(), bit(VHOST_BACKEND_F_IOTLB_MSG_V2));
      vhost.setBackendFeatures(vhost.getBackendFeatures());
      vhost.setBackendFeatures(0n);
    });
  });

  describe('FORK_FROM_OWNER', () => {
    it('decides what the worker is, before there is one; or it is not there', () => {
      if (!HAS_FORK_FROM_OWNER) {
        assert.throws(() => vhost.getForkFromOwner(), UNSUPPORTED);
        assert.throws(() => vhost.setForkFromOwner('kthread'), UNSUPPORTED);
        vhost.setOwner();
        assert.throws(() => vhost.getForkFromOwner(), UNSUPPORTED);
        assert.equal(vhost.worker?.kind, 'kthread');
        return;
      }
      assert.equal(vhost.getForkFromOwner(), 'task');
      vhost.setForkFromOwner('kthread');
      assert.equal(vhost.getForkFromOwner(), 'kthread');
      vhost.setOwner();
      assert.equal(vhost.worker?.kind, 'kthread');
      assert.throws(() => vhost.setForkFromOwner('task'), {
        code: 'EBUSY',
        hint: /before setOwner/,
      });
    });

    it('a task is a thread of this process, found also after a kernel thread was', () => {
      vhost.setOwner();
      assert.equal(vhost.worker?.kind, HAS_FORK_FROM_OWNER ? 'task' : 'kthread');
    });

    it('refuses another word', () => {
      assert.throws(() => vhost.setForkFromOwner('thread' as 'task'), {
        name: 'RangeError',
        message: "kind must be 'kthread' or 'task', got 'thread'",
      });
    });
  });

  describe('SET_MEM_TABLE', () => {
    beforeEach(() => {
      vhost.setOwner();
    });

    it('takes as many rows as the module says, and not one more', () => {
      const { maxMemRegions = 0 } = vhostParameters();
      const rows = Array.from({ length: maxMemRegions }, (_, i) => ({
        ...device.row,
        guestAddress: BigInt(i) << 32n,
      }));
      assert.ok(maxMemRegions >= 64, String(maxMemRegions));
      vhost.setMemTable(rows);
      const more = [...rows, { ...device.row, guestAddress: 1n << 62n }];
      assert.throws(() => vhost.setMemTable(more), { code: 'E2BIG' });
    });

    it('refuses a row of no length and one that wraps; takes one without alignment, and overlaps', () => {
      const { row } = device;
      assert.throws(() => vhost.setMemTable([{ ...row, byteLength: 0n }]), RangeError);
      assert.throws(() => vhost.setMemTable([{ ...row, guestAddress: 2n ** 64n - PAGE }]), {
        code: 'EFAULT',
      });
      vhost.setMemTable([{ guestAddress: 1n, byteLength: 3n, hostAddress: row.hostAddress + 1n }]);
      vhost.setMemTable([row, row]);
      vhost.setMemTable([]);
    });
  });

  describe('vrings', () => {
    beforeEach(() => {
      vhost.setOwner();
      vhost.setMemTable([device.row]);
    });

    it('refuses sizes and bases that there can not be, and a third vring', () => {
      for (const size of [0, 3, 65536, 2 ** 32 - 1]) {
        assert.throws(() => vhost.setVringNum(0, size), { code: 'EINVAL' });
      }
      for (const size of [1, 2, 32768]) vhost.setVringNum(0, size);
      assert.throws(() => vhost.setVringBase(0, 0x10000), { code: 'EINVAL' });
      vhost.setVringBase(1, 0xffff);
      assert.equal(vhost.getVringBase(1), 0xffff);
      const none = { code: 'ENOBUFS' };
      assert.throws(() => vhost.setVringBase(2, 0), none);
      assert.throws(() => vhost.getVringBase(2), none);
      assert.throws(() => vhost.setVringNum(2, 1), none);
      assert.throws(() => vhost.setVringAddr(2, device.addresses(0)), none);
      assert.throws(() => vhost.setVringKick(2, undefined), none);
      assert.throws(() => vhost.setVringCall(2, undefined), none);
      assert.throws(() => vhost.setVringErr(2, undefined), none);
      assert.throws(() => vhost.setVringBusyloopTimeout(2, 0), none);
      assert.throws(() => vhost.getVringBusyloopTimeout(2), none);
      assert.throws(() => vhost.setBackend(2, undefined), none);
    });

    it('keeps the busy-loop time, all 32 bits of it', () => {
      vhost.setVringBusyloopTimeout(1, 2 ** 32 - 1);
      assert.equal(vhost.getVringBusyloopTimeout(1), 2 ** 32 - 1);
      assert.equal(vhost.getVringBusyloopTimeout(0), 0);
    });

    it('has no order of bytes to set, as distributions build it', () => {
      assert.throws(() => vhost.getVringEndian(0), UNSUPPORTED);
      assert.throws(() => vhost.setVringEndian(0, 'big'), UNSUPPORTED);
      assert.throws(() => vhost.setVringEndian(2, 'big'), { code: 'ENOBUFS' });
      assert.throws(() => vhost.setVringEndian(0, 'middle' as 'big'), RangeError);
    });

    it('refuses parts that are not aligned', () => {
      const parts = device.addresses(0);
      assert.throws(() => vhost.setVringAddr(0, { ...parts, avail: parts.avail + 1n }), {
        code: 'EINVAL',
      });
      assert.throws(() => vhost.setVringAddr(0, { ...parts, used: parts.used + 2n }), {
        code: 'EINVAL',
      });
      vhost.setVringAddr(0, { ...parts, desc: parts.desc + 1n }); // Not looked at.
    });

    it('refuses an event that is no eventfd, and takes -1 for none', () => {
      using tun = new Tun();
      const other = tun as unknown as EventFd;
      for (const set of ['setVringKick', 'setVringCall', 'setVringErr'] as const) {
        assert.throws(() => vhost[set](0, other), { code: 'EINVAL' });
        vhost[set](0, undefined);
      }
      assert.throws(() => vhost.setLogFd(other), { code: 'EINVAL' });
      vhost.setLogFd(undefined);
    });

    it('refuses a backend that is none, and a tap that has no interface', () => {
      device.setUp(0);
      using tun = new Tun();
      using eventfd = new EventFd();
      assert.throws(() => vhost.setBackend(0, eventfd), { code: 'ENOTSOCK' });
      assert.throws(
        () => vhost.setBackend(0, tun),
        (error: { code: string }) => {
          return ['EINVAL', 'ENOTSOCK'].includes(error.code);
        },
      );
    });
  });

  describe('rings that run', () => {
    let network: TestNetwork;
    beforeEach(() => {
      network = new TestNetwork();
      vhost.setOwner();
      vhost.setFeatures(FEATURES);
      vhost.setMemTable([device.row]);
    });
    afterEach(() => {
      network.close();
    });

    /** Both rings on a tap; the receive ring full of buffers. */
    function run(used: { log?: bigint } = {}): { close(): void; [Symbol.dispose](): void } {
      const tap = RawDevice.tap(network.name);
      const [queue] = tap.queues;
      for (const index of [0, 1]) {
        device.setUp(index, { ...device.addresses(index), ...(index === 0 && used) });
        vhost.setBackend(index, queue);
      }
      device.offerReceive();
      return tap;
    }

    it('size and base can not be set, all else can, and a frame goes both ways', async () => {
      using tap = run();
      assert.ok(tap);
      assert.throws(() => vhost.setVringNum(0, RING_SIZE), { code: 'EBUSY', hint: /backend off/ });
      assert.throws(() => vhost.setVringBase(0, 0), { code: 'EBUSY' });
      vhost.setFeatures(FEATURES);
      vhost.setMemTable([device.row, { ...device.row, guestAddress: 1n << 32n }]);
      vhost.setVringAddr(0, device.addresses(0));
      vhost.setVringCall(0, device.receive.call);
      vhost.setVringKick(1, device.transmit.kick);
      vhost.setVringBusyloopTimeout(0, 10);
      device.sendArp(0);
      assert.equal(await device.received(), 12 + 42);
      vhost.setBackend(0, undefined);
      vhost.setBackend(1, undefined);
      assert.equal(vhost.getVringBase(0), 1);
      assert.equal(vhost.getVringBase(1), 1);
    });

    it('the owner can be reset under them: they stop, and the next owner may start anew', () => {
      using tap = run();
      assert.ok(tap);
      vhost.resetOwner();
      vhost.setOwner();
      vhost.setVringNum(0, RING_SIZE);
      assert.equal(vhost.getVringBase(0), 0);
    });

    it('marks the pages that it wrote in the log, buffers and used ring, and says so', async () => {
      using log = Pages.allocate({ byteLength: 4096 });
      using marked = new EventFd();
      const usedRingPage = 100n;
      vhost.setLogBase({ hostAddress: log.address, byteLength: 4096n });
      vhost.setLogFd(marked);
      vhost.setFeatures(FEATURES | bit(VHOST_F_LOG_ALL));
      using tap = run({ log: usedRingPage * PAGE });
      assert.ok(tap);
      device.sendArp(0);
      await signalled(marked);
      await device.received();
      vhost.setBackend(0, undefined);
      vhost.setBackend(1, undefined);
      const bits = BigInt(`0x${Buffer.from(log.buffer).reverse().toString('hex')}`);
      assert.equal(bits, bit(Number(usedRingPage)) | bit(BUFFERS_AT / 4096));
    });

    it('what is logged must be covered, whatever changes', () => {
      using log = Pages.allocate({ byteLength: 4096 });
      const short = { hostAddress: log.address, byteLength: 1n };
      const whole = { ...short, byteLength: 4096n };
      const logAll = FEATURES | bit(VHOST_F_LOG_ALL);
      assert.throws(() => vhost.setFeatures(logAll), RangeError);
      vhost.setLogBase(short);
      assert.throws(() => vhost.setFeatures(logAll), RangeError);
      assert.throws(
        () => vhost.setVringAddr(0, { ...device.addresses(0), log: 1n << 15n }),
        RangeError,
      );
      vhost.setLogBase(whole);
      vhost.setFeatures(logAll);
      assert.throws(() => vhost.setLogBase(short), RangeError);
      const far = { ...device.row, guestAddress: 1n << 40n };
      assert.throws(() => vhost.setMemTable([far]), RangeError);
      vhost.setFeatures(FEATURES);
      vhost.setMemTable([far]);
      assert.throws(() => vhost.setFeatures(logAll), RangeError);
      vhost.setVringNum(0, 1);
      const last = (1n << 27n) - 16n; // The log of a used ring of one entry just ends in time.
      vhost.setVringAddr(0, { ...device.addresses(0), log: last });
      vhost.setVringNum(0, 2);
      using tap = RawDevice.tap(network.name);
      assert.throws(() => vhost.setBackend(0, tap.queues[0]), RangeError);
      assert.throws(() => vhost.setLogBase(short), RangeError);
    });
  });
});
