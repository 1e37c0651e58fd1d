import assert from 'node:assert/strict';

import { checksumsDuring } from '../support/captured.js';
import { iperf } from '../support/iperf.js';
import { TestNetwork } from '../support/network.js';
import { processState } from '../support/process-state.js';
import type { ProcessState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import { tunnelled, unfinishedFrame } from '../support/unfinished-frames.js';
import type { FrameParts, TunnelParts, UnfinishedFrame } from '../support/unfinished-frames.js';
import { segment } from '#lib/offload/segment';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';
import type { PortOptions } from '#lib/port/options';
import type { NetHeader } from '#lib/ring/net-header';
import { isTunnelled } from '#lib/ring/net-header';
import { has } from '#lib/uapi/virtio';

const NEEDS = ['vhost', 'tun', 'root', 'tunnels'] as const;

/** Of both directions, with outer checksums. */
const FEATURES = [65, 66, 67, 68];

const GENEVE = [0x02, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 0x80, 1, 9, 9, 9, 9];

/** A frame of nearly 64 KiB, which is cut into about fifty. */
function longFrame(parts: Partial<FrameParts>, tunnel: TunnelParts): UnfinishedFrame {
  const payload = Uint8Array.from({ length: 64_000 }, (_, i) => (i * 7) >> 3);
  return tunnelled(unfinishedFrame({ payload, gsoSize: 1300, ...parts }), tunnel);
}

/** A complete frame for everybody. */
function plainFrame(length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(0xff);
  bytes.set([2, 0, 0, 0, 0, 9], 6);
  return bytes;
}

const KINDS: readonly (readonly [what: string, parts: Partial<FrameParts>, tunnel: TunnelParts])[] =
  [
    ['TCP over IPv4, VXLAN over IPv4', {}, {}],
    ['TCP over IPv4, VXLAN over IPv4 with a checksum', {}, { checksum: true }],
    ['TCP over IPv6, VXLAN over IPv4', { version: 6 }, { checksum: true }],
    ['TCP over IPv4, Geneve over IPv6', {}, { version: 6, header: GENEVE, port: 6081 }],
    [
      'TCP over IPv6, Geneve over IPv6 with a checksum',
      { version: 6 },
      { version: 6, checksum: true },
    ],
    ['UDP over IPv4, VXLAN over IPv4', { transport: 'udp' }, { checksum: true }],
    ['UDP over IPv6, VXLAN over IPv6', { transport: 'udp', version: 6 }, { version: 6 }],
    ['TCP over IPv4, VXLAN in a VLAN', {}, { tags: [0x81, 0, 0, 5] }],
  ];

describeWith(NEEDS, 'long frames inside a UDP tunnel', () => {
  let before: ProcessState;
  let network: TestNetwork;
  let ports: Port[];

  beforeEach(() => {
    before = processState();
    network = new TestNetwork();
    ports = [];
  });
  afterEach(async () => {
    for (const port of ports) await port.close();
    network.close();
    assert.deepEqual(processState(), before);
  });

  async function open(tap: string, options: Partial<PortOptions> = {}): Promise<Port> {
    const backend = { tap, netns: network.name };
    const port = await openPort({ backend, queueSize: 256, offloads: 'auto', ...options });
    ports.push(port);
    return port;
  }

  /** Frames of a tunnel that a port receives, until `count` came. */
  function frames(port: Port, count: number): Promise<{ bytes: Buffer; header: NetHeader }[]> {
    const seen: { bytes: Buffer; header: NetHeader }[] = [];
    return new Promise((resolve) => {
      port.on('receive', (batch) => {
        for (const { bytes, header } of batch) {
          if (bytes.length > 100) seen.push({ bytes: Buffer.from(bytes), header });
        }
        if (seen.length >= count) resolve(seen);
      });
    });
  }

  it('are agreed on with offloads, in both directions, and without offloads not', async () => {
    const [auto, none] = [await open('a'), await open('b', { offloads: 'none' })];
    for (const number of FEATURES) {
      assert.equal(has(auto.statistics().features, number), true, String(number));
      assert.equal(has(none.statistics().features, number), false, String(number));
    }
  });

  for (const [what, parts, tunnel] of KINDS) {
    it(`go whole to who takes them, and are cut for who does not as segment() cuts: ${what}`, async () => {
      const sender = await open('a');
      const whole = await open('b');
      const complete = await open('c', { offloads: 'none' });
      network.bridge('a', 'b', 'c');
      const { bytes, header } = longFrame(parts, tunnel);
      const wanted = Array.from(segment(bytes, header), (piece) => Buffer.from(piece));
      const [atWhole, atComplete] = [frames(whole, 1), frames(complete, wanted.length)];
      assert.equal(sender.send(bytes, header), true);
      const [one, ...more] = await atWhole;
      assert.deepEqual(more, []);
      assert.deepEqual(one?.bytes, Buffer.from(bytes));
      assert.deepEqual({ ...one.header, hdrLen: 0 }, { ...header, hdrLen: 0 });
      const pieces = await atComplete;
      assert.deepEqual(
        pieces.map((piece) => piece.bytes),
        wanted,
      );
    });
  }

  it('go on after a repair that made the tap again, and by queue pairs that were added', async () => {
    const sender = await open('a', { queuePairs: 2 });
    await sender.setQueuePairs(3);
    await sender.setQueuePairs(2);
    const whole = await open('b');
    const mended = new Set<number>();
    const repaired = new Promise<void>((resolve) => {
      sender.on('repair', ({ queue }) => {
        if (mended.add(queue).size === 2) resolve();
      });
    });
    network.ip('link', 'del', 'dev', 'a');
    await repaired;
    network.bridge('a', 'b');
    const { bytes, header } = longFrame({}, {});
    const arrived = frames(whole, 2);
    for (const queue of sender.queues) {
      assert.equal(queue.send(bytes, header), true);
      await queue.drained();
    }
    for (const one of await arrived) assert.deepEqual(one.bytes, Buffer.from(bytes));
  });

  it('leave a tap that stays fit for who opens it without, and with them again', async () => {
    const { bytes, header } = longFrame({}, {});
    for (const offloads of ['auto', 'none', 'auto'] as const) {
      const backend = { tap: 'a', netns: network.name, persistent: true };
      const port = await openPort({ backend, offloads });
      const other = await openPort({ backend: { tap: 'b', netns: network.name }, offloads });
      network.bridge('a', 'b');
      const plain = plainFrame(200);
      const arrived = frames(other, offloads === 'auto' ? 2 : 1);
      port.send(plain);
      if (offloads === 'auto') port.send(bytes, header);
      const [first, second] = await arrived;
      assert.deepEqual(first?.bytes, Buffer.from(plain));
      if (offloads === 'auto') assert.deepEqual(second?.bytes, Buffer.from(bytes));
      await port.close();
      await other.close();
      network.ip('link', 'del', 'dev', 'br0');
    }
    network.ip('link', 'del', 'dev', 'a');
  });

  it('are for all who have queues of a tap, or for none: another header is refused', async () => {
    const backend = { tap: 'a', netns: network.name, multiQueue: true };
    const first = await open('a', { backend });
    await assert.rejects(openPort({ backend, offloads: 'none' }), {
      code: 'ERR_VHOST_HEADER_SIZE',
      message: 'a is in use with a header of 24 bytes, not of 12',
    });
    const second = await open('a', { backend });
    assert.equal(has(second.statistics().features, 65), true);
    await second.close();
    await first.close();
    const plain = await open('a', { backend, offloads: 'none' });
    const third = await open('a', { backend });
    assert.equal(has(third.statistics().features, 65), false);
    await third.close();
    await plain.close();
  });
});

const ORDINARY = longFrame({}, {});
const SHORT = tunnelled(unfinishedFrame({ payload: new Uint8Array(1000), gsoSize: 300 }), {
  checksum: true,
});

/** What nobody can cut: each is refused, and what the kernel does with it is not to reach anybody. */
const POISON: readonly (readonly [what: string, change: Partial<NetHeader>])[] = [
  ['a tunnel over both IPv4 and IPv6', { gsoType: 0x61 }],
  ['a tunnel over IPv6 that has no room for its header', { gsoType: 0x41 }],
  ['a tunnel with nothing to be cut', { gsoType: 0x20 }],
  ['a tunnel with IP fragments', { gsoType: 0x23 }],
  ['a tunnel without an inner checksum', { flags: 0 }],
  ['an outer UDP header within the outer IP header', { outerThOffset: 33 }],
  ['an inner IP header within the outer UDP header', { innerNhOffset: 41 }],
  ['an inner TCP header within the inner IP header', { csumStart: 83 }],
  ['an inner TCP header behind the frame', { csumStart: 0xfff0 }],
  ['an inner checksum where UDP has it', { csumOffset: 6 }],
  ['segments of no size', { gsoSize: 0 }],
  ['segments of the size that means something else', { gsoSize: 0xffff }],
];

describeWith(NEEDS, 'poison headers of tunnels', () => {
  let network: TestNetwork;
  let port: Port;
  let other: Port;

  beforeEach(async () => {
    network = new TestNetwork();
    const open = (tap: string) =>
      openPort({ backend: { tap, netns: network.name }, queueSize: 64, offloads: 'auto' });
    [port, other] = [await open('a'), await open('b')];
    network.bridge('a', 'b');
  });
  afterEach(async () => {
    await port.close();
    await other.close();
    network.close();
  });

  /** Sends a frame with what send() refuses, from behind its back. */
  function poison({ bytes }: UnfinishedFrame, header: NetHeader): void {
    const reservation = port.reserve(bytes.length);
    assert.ok(reservation);
    reservation.bytes.set(bytes);
    port.commit(reservation);
    const { buffer, byteOffset } = reservation.bytes;
    const view = new DataView(buffer, byteOffset - 24, 24);
    const { hdrLen, gsoSize, csumStart, csumOffset, outerThOffset = 0, innerNhOffset = 0 } = header;
    view.setUint8(0, header.flags);
    view.setUint8(1, header.gsoType);
    for (const [i, word] of [hdrLen, gsoSize, csumStart, csumOffset].entries()) {
      view.setUint16(2 + 2 * i, word, true);
    }
    view.setUint16(20, outerThOffset, true);
    view.setUint16(22, innerNhOffset, true);
  }

  for (const [what, change] of POISON) {
    it(`refuses ${what}; from behind its back it wedges nothing`, async () => {
      let repairs = 0;
      port.on('repair', () => repairs++);
      for (const frame of [SHORT, ORDINARY]) {
        const header = { ...frame.header, ...change };
        assert.throws(() => port.send(frame.bytes, header), RangeError);
        const reservation = port.reserve(frame.bytes.length);
        assert.ok(reservation);
        assert.throws(() => port.commit(reservation, header), RangeError);
        port.cancel(reservation);
        poison(frame, { ...header, hdrLen: 0 });
        const arrived = new Promise<void>((resolve) => {
          other.on('receive', (batch) => {
            for (const { length } of batch) if (length === 77) resolve();
          });
        });
        port.send(plainFrame(77));
        await arrived;
      }
      assert.equal(repairs, 0);
    });
  }
});

/** left: host, vxlan device, tap t0, port ⇒ port, tap t0, vxlan device, host: right. */
describeWith(NEEDS, "a tunnel of the kernel's own", () => {
  let networks: readonly [left: TestNetwork, right: TestNetwork];
  let ports: Port[];

  beforeEach(() => {
    networks = [new TestNetwork(), new TestNetwork()];
    ports = [];
  });
  afterEach(async () => {
    for (const port of ports) await port.close();
    for (const network of networks) network.close();
  });

  async function openHost(
    side: 0 | 1,
    offloads: 'auto' | 'none',
    checksum: boolean,
  ): Promise<Port> {
    const network = networks[side];
    const [own, other] = side === 0 ? ['1', '2'] : ['2', '1'];
    const backend = { tap: 't0', netns: network.name, addresses: [`192.0.2.${own}/24`] };
    const port = await openPort({ backend, offloads });
    ports.push(port);
    const ends = ['local', `192.0.2.${own}`, 'remote', `192.0.2.${other}`, 'dstport', '4789'];
    const device = ['type', 'vxlan', 'id', '42', ...ends, checksum ? 'udpcsum' : 'noudpcsum'];
    network.ip('link', 'add', 'vx0', ...device);
    network.ip('address', 'add', `10.9.0.${own}/24`, 'dev', 'vx0');
    network.ip('link', 'set', 'vx0', 'up');
    // On a slow machine a sender that thinks of its pace would make frames of two segments.
    network.sh('echo 40 > /proc/sys/net/ipv4/tcp_min_tso_segs');
    return port;
  }

  /** Bytes of the longest frame of a tunnel that came with a GSO type, as long as both forward. */
  function join(left: Port, right: Port): { longest: number } {
    const seen = { longest: 0 };
    left.on('receive', (batch) => {
      for (const frame of batch) {
        if (isTunnelled(frame.header.gsoType)) seen.longest = Math.max(seen.longest, frame.length);
        right.forward(frame);
      }
    });
    right.on('receive', (batch) => {
      for (const frame of batch) left.forward(frame);
    });
    return seen;
  }

  function bytesPerPacket(network: TestNetwork): number {
    const [link] = JSON.parse(network.ip('-s', '-j', 'link', 'show', 'vx0')) as {
      stats64: { rx: { bytes: number; packets: number } };
    }[];
    const { bytes = 0, packets = 1 } = link?.stats64.rx ?? {};
    return bytes / packets;
  }

  for (const checksum of [false, true]) {
    const outer = checksum ? 'with outer checksums' : 'without outer checksums';

    it(`comes uncut, goes on uncut, and is taken uncut, ${outer}`, async function () {
      this.timeout(120_000);
      const left = await openHost(0, 'auto', checksum);
      const right = await openHost(1, 'auto', checksum);
      const seen = join(left, right);
      const { bytes } = await iperf(...networks, '10.9.0.2', '--bytes', '1M');
      assert.ok(bytes > 0, `${String(bytes)} bytes`);
      assert.ok(seen.longest > 5000, `the longest frame had ${String(seen.longest)} bytes`);
      const average = bytesPerPacket(networks[1]);
      assert.ok(average > 2000, `${average.toFixed(0)} bytes a packet behind the tunnel`);
    });

    it(`is cut for a port that does not take it, every checksum right, ${outer}`, async function () {
      this.timeout(120_000);
      const left = await openHost(0, 'auto', checksum);
      const right = await openHost(1, 'none', checksum);
      const seen = join(left, right);
      const { right: correct, wrong } = await checksumsDuring(networks[1], 't0', 'in', async () => {
        const { bytes } = await iperf(...networks, '10.9.0.2', '--bytes', '1M');
        assert.ok(bytes > 0, `${String(bytes)} bytes`);
      });
      assert.equal(wrong, 0);
      assert.ok(correct > 100, `${String(correct)} checksums`);
      assert.ok(seen.longest > 5000, `the longest frame had ${String(seen.longest)} bytes`);
    });
  }
});
