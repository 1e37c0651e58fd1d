import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { TestNetwork } from '../support/network.js';
import { describeWith } from '../support/requirements.js';
import { tcpDigests } from '../support/tcp-digests.js';

const FOLDER = path.resolve(__dirname, '../../../examples');

/** An example that goes on until Ctrl-C. */
class Running {
  #output = '';
  #ended = false;
  readonly #child: ChildProcess;
  readonly #end: Promise<unknown[]>;

  constructor(network: TestNetwork, name: string, ...args: string[]) {
    const child = network.start(process.execPath, path.join(FOLDER, name), ...args);
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        this.#output += chunk.toString();
        child.emit('said');
      });
    }
    child.on('close', () => {
      this.#ended = true;
      child.emit('said');
    });
    this.#child = child;
    this.#end = once(child, 'close');
  }

  /** When it has said this. */
  async said(text: string): Promise<void> {
    while (!this.#output.includes(text) && !this.#ended) await once(this.#child, 'said');
    assert.ok(this.#output.includes(text), this.#output);
  }

  /** Presses Ctrl-C; all that it said. */
  async interrupt(): Promise<string> {
    this.#child.kill('SIGINT');
    const [status] = await this.#end;
    assert.equal(status, 0, this.#output);
    return this.#output;
  }

  /** For the end of a test that failed. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

describeWith(['vhost', 'tun', 'root'], 'examples', () => {
  let network: TestNetwork;
  let running: Running | undefined;

  beforeEach(() => {
    network = new TestNetwork();
  });
  afterEach(() => {
    running?.kill();
    running = undefined;
    network.close();
  });

  function start(name: string, ...args: string[]): Running {
    running = new Running(network, name, ...args);
    return running;
  }

  function run(name: string, ...args: string[]): Promise<string> {
    return network.run(process.execPath, path.join(FOLDER, name), ...args);
  }

  /** What the kernel received on an interface. */
  function received(name: string): number {
    const [link] = JSON.parse(network.ip('-j', '-s', 'link', 'show', name)) as [
      { stats64: { rx: { packets: number } } },
    ];
    return link.stats64.rx.packets;
  }

  const checks: Record<string, () => Promise<void>> = {
    async '01-first-packet.mjs'() {
      // A tap that stays, so that its address and its counters can be looked at afterwards.
      network.ip('tuntap', 'add', 'vn0', 'mode', 'tap', 'vnet_hdr');
      network.ip('link', 'set', 'vn0', 'address', '02:00:00:00:00:77');
      const output = await run('01-first-packet.mjs');
      assert.match(output, /worker is vhost-\d+, tid \d+\n10\.9\.0\.1 is at 02:00:00:00:00:77\n$/);
      assert.equal(received('vn0'), 1);
    },

    async '02-responder.mjs'() {
      const example = start('02-responder.mjs');
      await example.said('10.9.0.2 answers');
      const report = await network.run('ping', '-c', '50', '-i', '0.002', '-q', '10.9.0.2');
      assert.match(report, /50 packets transmitted, 50 received/);
      const counts = /(\d+) frames came, (\d+) were answered/.exec(await example.interrupt());
      assert.ok(Number(counts?.[2]) >= 51, 'echo replies and an ARP reply');
      assert.equal(counts?.[1], counts?.[2]);
    },

    async '03-capture.mjs'() {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vhost-net-'));
      const file = path.join(folder, 'capture.pcap');
      const before = Date.now() / 1000;
      const example = start('03-capture.mjs', file);
      await example.said('vn0 is captured');
      network.ip('neigh', 'add', '10.9.0.2', 'lladdr', '02:00:00:00:00:02', 'dev', 'vn0');
      for (const size of [18, 1472]) {
        network.sh(`ping -c 3 -i 0.002 -W 0.01 -q -s ${String(size)} -p c5 10.9.0.2 || :`);
      }
      const lengths = [60, 60, 60, 1514, 1514, 1514];
      const expected = 24 + lengths.reduce((sum, length) => sum + 16 + length, 0);
      while (fs.statSync(file).size < expected)
        await new Promise((resolve) => setImmediate(resolve));
      assert.match(await example.interrupt(), /\n6 frames in /);

      const bytes = fs.readFileSync(file);
      fs.rmSync(folder, { recursive: true });
      assert.equal(bytes.length, expected);
      assert.deepEqual(
        [
          bytes.readUInt32LE(0),
          bytes.readUInt16LE(4),
          bytes.readUInt16LE(6),
          bytes.readUInt32LE(20),
        ],
        [0xa1b23c4d, 2, 4, 1],
      );
      let at = 24;
      for (const [i, length] of lengths.entries()) {
        const seconds = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) / 1e9;
        assert.ok(
          seconds > before - 1 && seconds < Date.now() / 1000 + 1,
          `a time of ${String(seconds)}`,
        );
        assert.deepEqual(
          [bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 12)],
          [length, length],
        );
        const frame = bytes.subarray(at + 16, at + 16 + length);
        assert.equal(frame.toString('hex', 0, 6), '020000000002');
        assert.deepEqual(
          [frame[34], frame.readUInt16BE(40)],
          [8, 1 + (i % 3)],
          'an echo request, numbered',
        );
        // In front of the pattern ping puts the time.
        assert.ok(frame.subarray(42 + 16).every((byte) => byte === 0xc5));
        at += 16 + length;
      }
    },

    async '04-generate.mjs'() {
      const output = await run('04-generate.mjs', '2000', '2000');
      const seconds = /^2000 sent in ([\d.]+) s; the kernel got 2000, dropped 0\n$/.exec(
        output,
      )?.[1];
      assert.ok(Number(seconds) >= 1999 / 2000, `faster than asked for: ${output}`);
      // Valid datagrams that nobody listens for, by the kernel's own count.
      const [names, values] = network
        .sh('grep ^Udp: /proc/net/snmp')
        .split('\n')
        .map((line) => line.split(' '));
      assert.equal(values?.[names?.indexOf('IgnoredMulti') ?? -1], '2000');
    },

    async '05-forward.mjs'() {
      using right = new TestNetwork();
      const example = start('05-forward.mjs', network.name, right.name);
      await example.said('are joined');
      const report = await network.run('ping', '-c', '50', '-i', '0.002', '-q', '10.9.0.2');
      assert.match(report, /50 packets transmitted, 50 received/);
      const megabytes = 16;
      const [sent, received] = await tcpDigests(network, right, '10.9.0.2', megabytes);
      assert.equal(received, sent);
      const [left, other] = [
        ...(await example.interrupt()).matchAll(/: (\d+) frames out of it, (\d+) into it/g),
      ];
      assert.deepEqual([left?.[1], left?.[2]], [other?.[2], other?.[1]], 'what went in came out');
      // As many as it would take without offloads, at 1448 bytes of payload each.
      const complete = (megabytes << 20) / 1448;
      assert.ok(Number(left?.[1]) < complete, `${String(left?.[1])} frames`);
    },

    async '06-worker.mjs'() {
      const output = await run('06-worker.mjs');
      assert.match(output, /^10000 sent, the kernel got 10000, its worker was vhost-\d+\n$/);
    },

    async '07-wedge.mjs'() {
      const [raw, port, after] = (await run('07-wedge.mjs')).split('\n');
      assert.equal(raw, 'raw: 100 ms of CPU, 0 of 3 frames sent, 0 error events');
      assert.match(port ?? '', /^port: stuck: the worker spins .*; lost 10 unsent, 0 unknown$/);
      assert.equal(after, 'then the kernel got 10 of 10 frames');
    },
  };

  for (const name of fs.readdirSync(FOLDER)) {
    it(name, async () => {
      const check = checks[name];
      assert.ok(check, 'there is no test for it');
      const text = fs.readFileSync(path.join(FOLDER, name), 'utf8');
      assert.ok(text.split('\n').length - 1 <= 60, 'it is longer than 60 lines');
      await check();
      assert.deepEqual(
        network.interfaces().filter((link) => link !== 'lo'),
        name.startsWith('01') ? ['vn0'] : [],
      );
    });
  }
});
