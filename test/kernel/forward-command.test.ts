import assert from 'node:assert/strict';
import path from 'node:path';

import { TestNetwork } from '../support/network.js';
import { root } from '../support/packed.js';
import { describeWith, itLong } from '../support/requirements.js';
import { Running } from '../support/running.js';
import { tcpDigests } from '../support/tcp-digests.js';

/** A command's start is a second of an emulated machine, and each test has some. */
const LONG = 120_000;

const MAIN = path.join(root, 'dist/cli/main.js');

interface Port {
  readonly backend: string;
  readonly received: { readonly frames: number; readonly bytes: number };
  readonly sent: { readonly frames: number; readonly bytes: number };
  readonly dropped: number;
  readonly flooded: number;
}

describeWith(['vhost', 'tun', 'root'], 'vhost-net forward', () => {
  let hosts: TestNetwork[];
  let running: Running | undefined;

  beforeEach(() => {
    hosts = [new TestNetwork(), new TestNetwork(), new TestNetwork()];
  });
  afterEach(async () => {
    await running?.end('SIGKILL');
    running = undefined;
    for (const host of hosts) host.close();
  });

  function start(...args: string[]): Running {
    running = new Running(process.execPath, MAIN, 'forward', ...args);
    return running;
  }

  /** Forwards between taps of the first hosts, which have addresses then. */
  async function join(count: number, ...args: string[]): Promise<Running> {
    const taps = hosts.slice(0, count).map(({ name }) => `tap:vn0@${name}`);
    const command = start(...taps, '--json', ...args);
    await command.until(() => command.lines('ready').length > 0);
    for (const [i, host] of hosts.slice(0, count).entries()) {
      host.ip('addr', 'add', `10.9.0.${String(i + 1)}/24`, 'dev', 'vn0');
    }
    return command;
  }

  /** What the command says of each port at the end. */
  function summary(command: Running): Port[] {
    const [line] = command.lines('summary');
    assert.ok(line);
    return line['ports'] as Port[];
  }

  function ping(from: number, to: number): void {
    hosts[from]?.exec('ping', '-c', '3', '-i', '0.05', '-W', '2', `10.9.0.${String(to + 1)}`);
  }

  /** Every byte of a stream arrives as it was sent. */
  async function stream(from: number, to: number, megabytes: number): Promise<void> {
    const [sender, receiver] = [hosts[from], hosts[to]];
    assert.ok(sender && receiver);
    const [sent, came] = await tcpDigests(sender, receiver, `10.9.0.${String(to + 1)}`, megabytes);
    assert.equal(came, sent);
  }

  const interfaces = () => hosts.map((host) => host.interfaces());

  it('joins two hosts as a cable does, tells rates and a sum, and leaves nothing', async () => {
    const command = await join(2);
    ping(0, 1);
    await stream(0, 1, 4);
    await stream(1, 0, 1);
    await command.until(() => command.lines('rates').length > 0);
    assert.equal(await command.end(), 0);
    assert.equal(command.complaints, '');
    const [a, b] = summary(command);
    assert.ok(a && b);
    assert.deepEqual(a.received, b.sent);
    assert.deepEqual(b.received, a.sent);
    assert.ok(a.received.bytes > 4 << 20 && b.received.bytes > 1 << 20);
    assert.ok(a.received.frames < (4 << 20) / 1514, 'whole segments of up to 64 KiB');
    assert.equal(a.dropped + b.dropped, 0);
    assert.deepEqual(interfaces(), [['lo'], ['lo'], ['lo']]);
  }).timeout(LONG);

  for (const kind of ['packet', 'macvtap']) {
    itLong(`joins a tap, with two queues or one, and a ${kind}`, async () => {
      const [host, other, between] = hosts;
      assert.ok(host && other && between);
      between.ip('link', 'add', 'v1', 'type', 'veth', 'peer', 'eth0', 'netns', other.name);
      between.ip('link', 'set', 'v1', 'up');
      other.ip('addr', 'add', '10.9.0.2/24', 'dev', 'eth0');
      other.ip('link', 'set', 'eth0', 'up');
      const queues = kind === 'packet' ? '1' : '2';
      const command = start(
        `tap:vn0@${host.name}`,
        `${kind}:v1@${between.name}`,
        ...['--queues', queues, '--json'],
      );
      await command.until(() => command.lines('ready').length > 0);
      host.ip('addr', 'add', '10.9.0.1/24', 'dev', 'vn0');
      ping(0, 1);
      await stream(0, 1, 1);
      await stream(1, 0, 1);
      assert.equal(await command.end(), 0, command.complaints);
      assert.deepEqual(interfaces(), [['lo'], ['lo', 'eth0'], ['lo', 'v1']]);
    }).timeout(LONG);
  }

  it('takes over the macvtap of a command that was killed, and refuses one whose command lives', async () => {
    const [host, , between] = hosts;
    assert.ok(host && between);
    between.ip('link', 'add', 'v1', 'type', 'dummy');
    const backends = [`tap:vn0@${host.name}`, `macvtap:v1@${between.name}`];
    const open = async () => {
      const command = start(...backends, '--json');
      await command.until(() => command.lines('ready').length > 0);
      return command;
    };
    const first = await open();
    const second = new Running(process.execPath, MAIN, 'forward', ...backends.toReversed());
    assert.equal(await second.ended(), 1);
    assert.match(second.complaints, /macvtap:v1@\S+: another vhost-net forward has v1/);
    assert.equal(await first.end('SIGKILL'), 'SIGKILL');
    assert.deepEqual(between.interfaces(), ['lo', 'v1', 'mvt-v1']);
    const last = await open();
    assert.equal(await last.end(), 0, last.complaints);
    assert.deepEqual(between.interfaces(), ['lo', 'v1']);
    between.ip('link', 'add', 'other', 'link', 'v1', 'type', 'macvlan');
    const refused = start(...backends);
    assert.equal(await refused.ended(), 1);
    assert.match(refused.complaints, /in mode passthru it has v1 to itself: delete what else/);
  }).timeout(LONG);

  it('switches between three hosts: what two say to each other the third does not hear', async () => {
    const command = await join(3);
    ping(0, 1);
    ping(2, 0);
    const heard = () => Number(hosts[2]?.sh('cat /sys/class/net/vn0/statistics/rx_bytes'));
    ping(0, 1);
    const before = heard();
    await stream(0, 1, 4);
    assert.ok(heard() - before < 1000, 'one may have asked for the other anew, and no more');
    ping(1, 2);
    assert.equal(await command.end('SIGTERM'), 0);
    const [a, b, c] = summary(command);
    assert.ok(a && b && c);
    assert.ok(a.flooded > 0 && b.sent.bytes > 4 << 20 && c.sent.frames > 0);
    assert.equal(command.lines('summary')[0]?.['addresses'], 3);
    assert.deepEqual(interfaces(), [['lo'], ['lo'], ['lo']]);
  }).timeout(LONG);

  it('goes on with a tap that was deleted and made again, and says so', async () => {
    const command = await join(2);
    ping(0, 1);
    hosts[1]?.ip('link', 'del', 'dev', 'vn0');
    await command.until(() => command.lines('repair').length > 0);
    assert.equal(command.lines('repair')[0]?.['cause'], 'backend');
    hosts[1]?.ip('addr', 'add', '10.9.0.2/24', 'dev', 'vn0');
    hosts[0]?.ip('neigh', 'flush', 'all');
    ping(0, 1);
    assert.equal(await command.end(), 0);
  }).timeout(LONG);

  itLong(
    'goes on between the others when a backend is lost, and ends with 1 when one alone is left',
    async () => {
      const command = await join(3);
      ping(0, 1);
      // What has the name of the tap is no tap.
      const lose = async (host: number, count: number) => {
        command.child.kill('SIGSTOP');
        hosts[host]?.sh('ip link del vn0; ip link add vn0 type dummy');
        command.child.kill('SIGCONT');
        await command.until(() => command.lines('lost').length === count);
      };
      await lose(2, 1);
      assert.equal(command.lines('lost')[0]?.['backend'], `tap:vn0@${hosts[2]?.name ?? ''}`);
      assert.equal(command.lines('lost')[0]?.['code'], 'ERR_VHOST_BACKEND_LOST');
      ping(0, 1);
      await lose(1, 2);
      assert.equal(await command.ended(), 1);
      assert.equal(summary(command).length, 3);
      assert.match(command.complaints, /^vhost-net: tap:vn0@\S+ is lost: the interface is gone/);
      assert.deepEqual(interfaces(), [['lo'], ['lo', 'vn0'], ['lo', 'vn0']]);
    },
  ).timeout(LONG);

  itLong(
    'says which backend can not be opened and why, and leaves none of the others',
    async () => {
      const [host] = hosts;
      assert.ok(host);
      host.ip('link', 'add', 'vn1', 'type', 'dummy');
      const wrong: [string, string, RegExp][] = [
        [`tap:vn1@${host.name}`, 'EINVAL', /TUNSETIFF \(vn1 is no tap\)/],
        ['tap:vn1@vnt-nowhere', 'ENOENT', /there is no such network namespace/],
      ];
      for (const [backend, code, complaint] of wrong) {
        const command = start(`tap:vn0@${host.name}`, backend, '--json');
        assert.equal(await command.ended(), 1);
        assert.match(command.complaints, complaint);
        const [failed] = command.lines();
        assert.deepEqual(
          [failed?.type, failed?.['backend'], failed?.['code']],
          ['failed', backend, code],
        );
        assert.deepEqual(host.interfaces(), ['lo', 'vn1']);
      }
    },
  ).timeout(LONG);

  itLong(
    'draws a line for each port on a terminal, again and again, and nothing elsewhere',
    async () => {
      const taps = hosts.slice(0, 2).map(({ name }) => `tap:vn0@${name}`);
      const quiet = start(...taps);
      await quiet.until(() => quiet.output.includes('Ctrl-C ends it\n'));
      assert.equal(await quiet.end(), 0);
      assert.match(
        quiet.output,
        /^forwarding between [^\n]*\nforwarded for .* s\n(tap:\S+ .*\n){2}$/,
      );
      const words = ['exec', process.execPath, MAIN, 'forward', ...taps].join(' ');
      const drawn = (running = new Running('script', '-qec', words, '/dev/null'));
      await drawn.until(() => drawn.output.split('\x1b[2A').length > 2);
      assert.match(
        drawn.output.replaceAll('\x1b', '~'),
        /~\[2Ktap:vn0@\S+ +in +\d.*frame\/s .*bit\/s +out /,
      );
      drawn.child.stdin.write('\x03');
      assert.equal(await drawn.ended(), 0);
      assert.match(drawn.output, /forwarded for/);
    },
  ).timeout(LONG);

  itLong('ends when nobody reads its output any more', async () => {
    const command = await join(2);
    command.child.stdout.destroy();
    assert.equal(await command.ended(), 0);
    assert.deepEqual(interfaces(), [['lo'], ['lo'], ['lo']]);
  }).timeout(LONG);
});
