import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import path from 'node:path';

import { TestNetwork } from '../support/network.js';
import { describeWith } from '../support/requirements.js';
import type { IoctlMessage } from '#lib/observe';
import { openPort } from '#lib/port/port';

const CHILD = path.resolve(__dirname, '../support/open.child.js');

describeWith(['vhost', 'tun', 'root'], 'a port that is watched', () => {
  let network: TestNetwork;
  beforeEach(() => {
    network = new TestNetwork();
  });
  afterEach(() => {
    network.close();
  });

  const open = () =>
    openPort({ backend: { tap: 'vn0', netns: network.name, persistent: true }, queueSize: 64 });

  /** Listens on a channel for as long as a test runs. */
  function collect(channel: string): { messages: unknown[]; stop: () => void } {
    const messages: unknown[] = [];
    const listen = (message: unknown) => {
      messages.push(message);
    };
    subscribe(channel, listen);
    return { messages, stop: () => unsubscribe(channel, listen) };
  }

  it('tells every ioctl in order, with its arguments', async () => {
    const { messages: heard, stop } = collect('vhost-net:ioctl');
    try {
      await (await open()).close();
    } finally {
      stop();
    }
    const messages = heard as IoctlMessage[];
    const requests = messages.map(({ request }) => request);
    const start = requests.lastIndexOf('VHOST_SET_FEATURES');
    const vring = ['NUM', 'BASE', 'ADDR', 'ERR', 'CALL', 'KICK'].map(
      (one) => `VHOST_SET_VRING_${one}`,
    );
    assert.deepEqual(requests.slice(start), [
      'VHOST_SET_FEATURES',
      'VHOST_SET_MEM_TABLE',
      ...vring,
      ...vring,
      ...Array.from({ length: 2 }, () => 'VHOST_SET_VRING_BUSYLOOP_TIMEOUT'),
      ...Array.from({ length: 4 }, () => 'VHOST_NET_SET_BACKEND'),
      'TUNGETIFF', // whether the interface that is let go is still there
    ]);
    assert.ok(requests.includes('TUNSETIFF') && requests.includes('VHOST_SET_OWNER'));
    const sizes = messages.filter(({ request }) => request === 'VHOST_SET_VRING_NUM');
    assert.deepEqual(
      sizes.map((one) => one.arguments),
      [0, 1].map((index) => ({ index, size: 64 })),
    );
    const off = messages.at(-2);
    assert.deepEqual(off?.arguments, { index: 0, fd: -1 });
    assert.ok(messages.every(({ fd, nanoseconds }) => fd > 2 && nanoseconds > 0));
  });

  it('tells what becomes of it', async () => {
    const { messages, stop } = collect('vhost-net:port');
    try {
      const port = await open();
      const { worker, features } = port.statistics();
      const repaired = once(port, 'repair');
      network.ip('link', 'del', 'vn0');
      const [report] = (await repaired) as [unknown];
      await port.close();
      assert.deepEqual(messages, [
        { state: 'opened', name: 'vn0', worker, features },
        { state: 'activated', name: 'vn0' },
        { state: 'repaired', name: 'vn0', report },
        { state: 'closed', name: 'vn0' },
      ]);
    } finally {
      stop();
    }
  });

  it('prints both for NODE_DEBUG=vhost-net', () => {
    const options = JSON.stringify({ backend: { tap: 'vn0', netns: network.name }, queueSize: 64 });
    const text = execFileSync('sh', ['-c', '"$0" "$@" 2>&1', process.execPath, CHILD, options], {
      encoding: 'utf8',
      env: { ...process.env, NODE_DEBUG: 'vhost-net' },
    });
    assert.match(
      text,
      /ioctl\(\d+, TUNSETIFF, \{name='vn0', flags=\[IFF_TAP\|IFF_NO_PI\|IFF_VNET_HDR\]\} => 'vn0'\) = 0/,
    );
    assert.match(text, /ioctl\(\d+, VHOST_SET_VRING_ADDR, \{index=1, flags=0, desc=0x[0-9a-f]+/);
    assert.match(
      text,
      /port vn0: opened, worker vhost-\d+, tid \d+, features \[VIRTIO_NET_F_MRG_RXBUF\|/,
    );
    assert.match(text, /port vn0: closed\n/);
  });
});
