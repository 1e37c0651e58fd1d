import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createRequire } from 'node:module';

import { VhostSystemError } from '#lib/errors';
import { ioctl } from '#lib/observe';
import type { IoctlMessage } from '#lib/observe';

/** What is published while a body runs. */
function published(body: () => void): IoctlMessage[] {
  const messages: IoctlMessage[] = [];
  const listen = (message: unknown) => messages.push(message as IoctlMessage);
  subscribe('vhost-net:ioctl', listen);
  try {
    body();
  } finally {
    unsubscribe('vhost-net:ioctl', listen);
  }
  return messages;
}

describe('the channel vhost-net:ioctl', () => {
  it('tells arguments, answer and time of each', () => {
    const [message, ...more] = published(() => {
      assert.equal(
        ioctl(7, 'VHOST_GET_VRING_BASE', { index: 1 }, () => 5),
        5,
      );
    });
    assert.deepEqual(more, []);
    assert.ok(message);
    const { nanoseconds, ...rest } = message;
    assert.ok(nanoseconds > 0);
    assert.deepEqual(rest, {
      fd: 7,
      request: 'VHOST_GET_VRING_BASE',
      arguments: { index: 1 },
      result: 5,
      error: undefined,
    });
  });

  it('tells why the kernel refused, and the caller gets the same error', () => {
    const error = new VhostSystemError(16, 'ioctl', 'VHOST_SET_OWNER');
    const [message] = published(() => {
      const call = () => {
        throw error;
      };
      assert.throws(() => ioctl(7, 'VHOST_SET_OWNER', {}, call), error);
    });
    assert.equal(message?.error, error);
    assert.equal(message.result, undefined);
  });

  it('says nothing of an argument for which the kernel was not asked', () => {
    const misuse = () => {
      throw new RangeError('index');
    };
    const messages = published(() => {
      assert.throws(() => ioctl(7, 'VHOST_SET_VRING_NUM', {}, misuse), RangeError);
    });
    assert.deepEqual(messages, []);
  });

  it('makes no message when nobody listens', () => {
    const none = undefined as unknown as Record<string, unknown>;
    assert.equal(
      ioctl(7, 'VHOST_SET_OWNER', none, () => 1),
      1,
    );
  });
});

describe('NODE_DEBUG=vhost-net', () => {
  const eventFd = createRequire(__filename).resolve('#lib/sys/eventfd');

  /** What a script over `ioctl` prints on stderr, without the time and process that Node puts before. */
  function debugged(script: string): string[] {
    const require = createRequire(__filename);
    const text = `
      const { ioctl } = require(${JSON.stringify(require.resolve('#lib/observe'))});
      const { VhostSystemError } = require(${JSON.stringify(require.resolve('#lib/errors'))});
      const { subscribe } = require('node:diagnostics_channel');
      ${script}`;
    const output = execFileSync('sh', ['-c', '"$0" -e "$1" 2>&1', process.execPath, text], {
      encoding: 'utf8',
      env: { ...process.env, NODE_DEBUG: 'vhost-net' },
    });
    return output
      .trim()
      .split('\n')
      .map((line) => line.replace(/^VHOST-NET \d+: /, ''));
  }

  it('prints each in the manner of strace', () => {
    const lines = debugged(`
      ioctl(7, 'VHOST_SET_OWNER', {}, () => {});
      ioctl(7, 'VHOST_SET_FEATURES', { features: 1n << 32n | 1n << 15n }, () => {});
      ioctl(7, 'VHOST_GET_FEATURES', {}, () => 1n << 29n);
      ioctl(7, 'VHOST_GET_BACKEND_FEATURES', {}, () => 2n);
      ioctl(7, 'VHOST_GET_VRING_BASE', { index: 1 }, () => 5);
      ioctl(7, 'VHOST_SET_LOG_BASE', { hostAddress: 4096n, byteLength: 1n }, () => {});
      try {
        ioctl(7, 'VHOST_SET_OWNER', {}, () => { throw new VhostSystemError(16, 'ioctl', 'VHOST_SET_OWNER') });
      } catch {}`);
    assert.deepEqual(lines, [
      'ioctl(7, VHOST_SET_OWNER) = 0',
      'ioctl(7, VHOST_SET_FEATURES, {features=[VIRTIO_NET_F_MRG_RXBUF|VIRTIO_F_VERSION_1]}) = 0',
      'ioctl(7, VHOST_GET_FEATURES => [VIRTIO_RING_F_EVENT_IDX]) = 0',
      'ioctl(7, VHOST_GET_BACKEND_FEATURES => 0x2) = 0',
      'ioctl(7, VHOST_GET_VRING_BASE, {index=1} => 5) = 0',
      'ioctl(7, VHOST_SET_LOG_BASE, {hostAddress=0x1000, byteLength=0x1}) = 0',
      'ioctl(7, VHOST_SET_OWNER) = -1 EBUSY (resource busy or locked)',
    ]);
  });

  it('prints flags by name, addresses in hexadecimal however deep, and descriptors by number', () => {
    const lines = debugged(`
      ioctl(7, 'TUNSETIFF', { name: 'vn0', flags: 0x5002 }, () => 'vn0');
      ioctl(7, 'TUNGETIFF', {}, () => ({ name: 'vn0', flags: 0x0902 }));
      ioctl(7, 'TUNGETFEATURES', {}, () => 0x710f);
      ioctl(7, 'TUNSETOFFLOAD', { flags: 0x61 }, () => {});
      ioctl(7, 'TUNSETOFFLOAD', { flags: 0 }, () => {});
      const row = { guestAddress: 4096n, byteLength: 16n, hostAddress: 0x7f0000000000n };
      ioctl(7, 'VHOST_SET_MEM_TABLE', { rows: [row, row] }, () => {});
      ioctl(7, 'VHOST_SET_VRING_ADDR', { index: 1, flags: 1, desc: 16n }, () => {});
      const eventfd = new (require(${JSON.stringify(eventFd)}).EventFd)();
      ioctl(7, 'TUNGETDEVNETNS', {}, () => eventfd.descriptor);
      console.error(eventfd.fd);`);
    const row = '{guestAddress=0x1000, byteLength=0x10, hostAddress=0x7f0000000000}';
    const fd = lines.pop() ?? '';
    assert.deepEqual(lines, [
      "ioctl(7, TUNSETIFF, {name='vn0', flags=[IFF_TAP|IFF_NO_PI|IFF_VNET_HDR]} => 'vn0') = 0",
      "ioctl(7, TUNGETIFF => {name='vn0', flags=[IFF_TAP|IFF_MULTI_QUEUE|IFF_PERSIST]}) = 0",
      'ioctl(7, TUNGETFEATURES => [IFF_TUN|IFF_TAP|IFF_MULTI_QUEUE|IFF_NO_PI|IFF_VNET_HDR|0x200c]) = 0',
      'ioctl(7, TUNSETOFFLOAD, {flags=[TUN_F_CSUM|TUN_F_USO4|TUN_F_USO6]}) = 0',
      'ioctl(7, TUNSETOFFLOAD, {flags=[]}) = 0',
      `ioctl(7, VHOST_SET_MEM_TABLE, {rows=[${row}, ${row}]}) = 0`,
      'ioctl(7, VHOST_SET_VRING_ADDR, {index=1, flags=1, desc=0x10}) = 0',
      `ioctl(7, TUNGETDEVNETNS => ${fd}) = 0`,
    ]);
  });
});
