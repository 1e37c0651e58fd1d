import assert from 'node:assert/strict';

import { GuestMemory } from '#lib/memory/guest-memory';
import { DriverQueue } from '#lib/ring/driver-queue';
import { splitLayout } from '#lib/ring/split-layout';
import { EventFd } from '#lib/sys/eventfd';
import * as net from '#lib/uapi/virtio-net';
import { ControlQueue } from '#lib/vmm/control-queue';

const SIZE = 8;
const AT = 0x100000;
const COMMAND = 0x4000;
const BYTES = 0x10000;

const hex = (macs: readonly Uint8Array[]) =>
  macs.map((mac) => Buffer.from(mac).toString('hex')).join();

describe('ControlQueue', () => {
  const layout = splitLayout(SIZE);
  let buffer: ArrayBuffer;
  let bytes: Uint8Array;
  let driver: DriverQueue;
  let call: EventFd;
  let control: ControlQueue;
  let asked: string[];
  let answer: boolean;
  /** Milliseconds that it is, and that each command takes. */
  let now: number;
  let duration: number;

  beforeEach(() => {
    buffer = new ArrayBuffer(BYTES);
    bytes = new Uint8Array(buffer);
    const region = { guestAddress: AT, hostAddress: 0n, buffer, byteLength: BYTES };
    driver = new DriverQueue(buffer, 0, { size: SIZE, eventIdx: false });
    call = new EventFd();
    asked = [];
    answer = true;
    now = duration = 0;
    const ask = (what: string) => {
      asked.push(what);
      now += duration;
      return answer;
    };
    const place = { desc: AT + layout.desc, avail: AT + layout.avail, used: AT + layout.used };
    control = new ControlQueue(
      { ...place, memory: new GuestMemory([region]), size: SIZE, eventIdx: false, indirect: false },
      call,
      {
        setQueuePairs: (count) => ask(`pairs ${String(count)}`),
        setMac: (mac) => ask(`mac ${Buffer.from(mac).toString('hex')}`),
        setGuestOffloads: (offloads) => ask(`offloads 0x${offloads.toString(16)}`),
        setPromiscuous: (on) => ask(`promiscuous ${String(on)}`),
        setAllMulticast: (on) => ask(`all multicast ${String(on)}`),
        setMacTable: ({ unicast, multicast, overflow }) =>
          ask(`table ${hex(unicast)} / ${hex(multicast)}${overflow ? ' and more' : ''}`),
        acknowledgeAnnounce: () => ask('announce'),
      },
      () => now,
    );
  });
  afterEach(() => {
    call.close();
  });

  /** Offers a command in buffers of these lengths, and one for the answer. */
  function offer(command: readonly number[], split: readonly number[] = [command.length]): void {
    bytes.set([...command, 0xee], COMMAND);
    let address = AT + COMMAND;
    const segments = split.map((length) => {
      address += length;
      return { address: address - length, length, writable: false };
    });
    driver.offer(driver.addChain([...segments, { address, length: 1, writable: true }]));
    driver.publish();
  }

  /** The answer to one command. */
  function answerTo(command: readonly number[], split?: readonly number[]): number {
    offer(command, split);
    assert.equal(control.serve(), false);
    assert.equal(driver.poll(), 1);
    driver.release(driver.take());
    assert.equal(driver.takenLength, 1);
    assert.equal(call.drain(), 1);
    return bytes[COMMAND + command.length] ?? -1;
  }

  const MQ = [net.VIRTIO_NET_CTRL_MQ, net.VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET];

  it('takes a command apart wherever the driver cut it', () => {
    const mac = [net.VIRTIO_NET_CTRL_MAC, net.VIRTIO_NET_CTRL_MAC_ADDR_SET, 2, 1, 2, 3, 4, 5];
    assert.equal(answerTo(mac), net.VIRTIO_NET_OK);
    assert.equal(answerTo(mac, [2, 6]), net.VIRTIO_NET_OK);
    assert.equal(answerTo(mac, [1, 1, 3, 3]), net.VIRTIO_NET_OK);
    assert.deepEqual(asked, Array<string>(3).fill('mac 020102030405'));
  });

  it('knows each command, little-endian', () => {
    assert.equal(answerTo([...MQ, 2, 1]), net.VIRTIO_NET_OK);
    const offloads = [net.VIRTIO_NET_CTRL_GUEST_OFFLOADS, net.VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET];
    answerTo([...offloads, 1, 0, 0, 0, 0, 0, 0, 0x80]);
    answerTo([net.VIRTIO_NET_CTRL_ANNOUNCE, net.VIRTIO_NET_CTRL_ANNOUNCE_ACK]);
    assert.deepEqual(asked, ['pairs 258', 'offloads 0x8000000000000001', 'announce']);
  });

  describe('what is to be received', () => {
    const TABLE = [net.VIRTIO_NET_CTRL_MAC, net.VIRTIO_NET_CTRL_MAC_TABLE_SET];
    const A = [2, 0, 0, 0, 0, 10];
    const B = [2, 0, 0, 0, 0, 11];
    const GROUP = [1, 0, 0x5e, 0, 0, 5];

    it('is switched, any number but 0 is on', () => {
      for (const on of [1, 0, 0x80]) {
        answerTo([net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_PROMISC, on]);
        answerTo([net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_ALLMULTI, on]);
      }
      assert.deepEqual(asked, [
        ...['promiscuous true', 'all multicast true', 'promiscuous false', 'all multicast false'],
        ...['promiscuous true', 'all multicast true'],
      ]);
    });

    it('is a table of hosts and one of groups, wherever the driver cut it', () => {
      const command = [...TABLE, 2, 0, 0, 0, ...A, ...B, 1, 0, 0, 0, ...GROUP];
      assert.equal(answerTo(command), net.VIRTIO_NET_OK);
      assert.equal(answerTo(command, [2, 16, 10]), net.VIRTIO_NET_OK);
      assert.equal(answerTo([...TABLE, 0, 0, 0, 0, 0, 0, 0, 0]), net.VIRTIO_NET_OK);
      const both = 'table 02000000000a,02000000000b / 01005e000005';
      assert.deepEqual(asked, [both, both, 'table  / ']);
    });

    it('is refused when a table is shorter than it says', () => {
      for (const table of [
        [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        [1, 0, 0, 0, ...A.slice(1), 0, 0, 0, 0],
        [1, 0, 0, 0, ...A, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 0, ...GROUP.slice(1)],
      ]) {
        assert.equal(answerTo([...TABLE, ...table]), net.VIRTIO_NET_ERR);
      }
      assert.deepEqual(asked, []);
    });

    it('is everything when a table is longer than anybody would tell apart', () => {
      const hosts = Array.from({ length: 2000 }, () => A).flat();
      assert.equal(answerTo([...TABLE, 0xd0, 7, 0, 0, ...hosts, 0, 0, 0, 0]), net.VIRTIO_NET_OK);
      assert.deepEqual(asked, ['table  /  and more']);
    });
  });

  it('refuses what it does not know, what is too short, and what nobody did', () => {
    for (const command of [
      [...MQ, 2],
      [net.VIRTIO_NET_CTRL_MQ],
      [net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_PROMISC],
      // Of `VIRTIO_NET_F_CTRL_RX_EXTRA`.
      [net.VIRTIO_NET_CTRL_RX, 2, 1],
      [net.VIRTIO_NET_CTRL_VLAN, 0, 1, 0],
      [net.VIRTIO_NET_CTRL_MAC, net.VIRTIO_NET_CTRL_MAC_TABLE_SET, 0, 0, 0, 0],
      [0xff, 0xff],
    ]) {
      assert.equal(answerTo(command), net.VIRTIO_NET_ERR);
    }
    assert.deepEqual(asked, []);
    answer = false;
    assert.equal(answerTo([...MQ, 2, 0]), net.VIRTIO_NET_ERR);
    assert.deepEqual(control.statistics(), { commands: 8, refused: 8 });
  });

  it('reads no more of a command than there is to know', () => {
    assert.equal(answerTo([...MQ, 2, 0, ...Array<number>(5000).fill(7)]), net.VIRTIO_NET_OK);
    assert.deepEqual(asked, ['pairs 2']);
  });

  it('gives a chain back that has no room for an answer', () => {
    bytes.set([...MQ, 1, 0], COMMAND);
    const head = driver.addChain([{ address: AT + COMMAND, length: 4, writable: false }]);
    driver.offer(head);
    driver.publish();
    control.serve();
    assert.equal(driver.poll(), 1);
    assert.equal(driver.take(), head);
    assert.equal(driver.takenLength, 0);
  });

  it('serves a full queue at the most before others have their turn', () => {
    for (let i = 0; i < SIZE / 2; i++) offer([...MQ, 1, 0]);
    // The driver goes on while it is served: two more each time.
    const words = new Uint16Array(buffer);
    const original = asked.push.bind(asked);
    asked.push = (...items) => {
      words[layout.avail / 2 + 1] = (words[layout.avail / 2 + 1] ?? 0) + 2;
      return original(...items);
    };
    assert.equal(control.serve(), true);
    assert.equal(control.statistics().commands, SIZE);
  });

  it('lets others have their turn when commands take long, and goes on in the next', () => {
    duration = 1;
    for (let i = 0; i < 3; i++) offer([...MQ, 1, 0]);
    assert.equal(control.serve(), true);
    assert.equal(control.statistics().commands, 2);
    assert.equal(control.serve(), false);
    assert.equal(control.statistics().commands, 3);
  });

  it('is done, and asks to be notified of the next, also when the only command took long', () => {
    duration = 5;
    offer([...MQ, 1, 0]);
    assert.equal(control.serve(), false);
  });

  it('answers nothing any more once it is closed, also by what a command does', () => {
    offer([...MQ, 1, 0]);
    offer([...MQ, 2, 0]);
    const original = asked.push.bind(asked);
    asked.push = (...items) => {
      control.close();
      return original(...items);
    };
    const before = Buffer.from(bytes);
    assert.equal(control.serve(), false);
    assert.equal(control.serve(), false);
    assert.deepEqual(asked.length, 1);
    assert.ok(before.equals(bytes), 'the memory of the driver');
    assert.equal(call.drain(), 0);
  });

  it('interrupts nobody who wants no interrupt', () => {
    control.call = undefined;
    offer([...MQ, 1, 0]);
    control.serve();
    assert.equal(call.drain(), 0);
    control.call = call;
    driver.disarmCalls();
    offer([...MQ, 1, 0]);
    control.serve();
    assert.equal(call.drain(), 0);
  });

  it('gives up on a queue that can not be true', () => {
    const words = new Uint16Array(buffer);
    words[layout.avail / 2 + 1] = SIZE + 1;
    assert.throws(() => control.serve(), { code: 'ERR_VHOST_QUEUE_CORRUPT' });
  });
});
