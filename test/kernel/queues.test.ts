import assert from 'node:assert/strict';
import { once } from 'node:events';
import path from 'node:path';
import { Worker } from 'node:worker_threads';

import { datagram, makeDatagram, sendInTurns } from '../support/datagrams.js';
import { TestNetwork } from '../support/network.js';
import { PatternFrames } from '../support/pattern.js';
import { processState } from '../support/process-state.js';
import type { ProcessState } from '../support/process-state.js';
import { describeWith } from '../support/requirements.js';
import { loadSocketFilter } from '#lib/sys/bpf';
import type { VhostError } from '#lib/errors';
import type { Frame } from '#lib/port/frame';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';
import { Cable } from '#lib/switch/cable';
import { newFabricCounters } from '#lib/switch/fabric';

/** Milliseconds after which what should have happened will not. */
const LONG = 10_000;

/** So many flows that a tap, which spreads them by chance, leaves no queue without (of two: 1 in 8 million). */
const MANY = 24;

const flowsFrom = (first: number) => Array.from({ length: MANY }, (_, i) => first + i);

describeWith(['vhost', 'tun', 'root'], 'several queue pairs', () => {
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
    assert.deepEqual(
      network.interfaces().filter((name) => name !== 'br0'),
      ['lo'],
    );
    network.close();
    assert.deepEqual(processState(), before);
  });

  async function open(options: object, backend: object = {}): Promise<Port> {
    const port = await openPort({
      backend: { tap: 'vn0', netns: network.name, ...backend },
      ...options,
    });
    ports.push(port);
    return port;
  }

  /** Another port on one Ethernet with `vn0`. */
  async function openSource(blockMainThread = false): Promise<Port> {
    const backend = { tap: 'source', netns: network.name };
    const source = await openPort({ backend, blockMainThread });
    ports.push(source);
    network.bridge('vn0', 'source');
    return source;
  }

  it('have a worker each, all bring frames, and every flow keeps its order', async () => {
    const port = await open({ queuePairs: 4 });
    const tids = new Set(port.queues.map(({ worker }) => worker?.tid));
    assert.equal(tids.size, 4);
    const source = await openSource();
    const flows = flowsFrom(5001);
    const numbers = new Map<number, number[]>(flows.map((flow) => [flow, []]));
    const queues = new Map<number, Set<number>>(flows.map((flow) => [flow, new Set()]));
    let received = 0;
    const all = new Promise<void>((resolve) => {
      port.on('receive', (batch) => {
        for (const { bytes } of batch) {
          const one = datagram(bytes);
          if (!one) continue;
          numbers.get(one.flow)?.push(one.number);
          queues.get(one.flow)?.add(batch.queue);
          if (++received === MANY * 50) resolve();
        }
      });
    });
    await sendInTurns(source, flows, 50, () => received);
    await all;
    const inOrder = Array.from({ length: 50 }, (_, i) => i);
    for (const flow of flows) assert.deepEqual(numbers.get(flow), inOrder);
    for (const [flow, used] of queues) assert.equal(used.size, 1, `flow ${String(flow)}`);
    const { receive, queues: each } = port.statistics();
    const busy = each.filter((queue) => queue.receive.frames > 0).length;
    assert.ok(busy >= 2, `${String(busy)} queues brought frames`);
    assert.equal(
      each.reduce((sum, queue) => sum + queue.receive.frames, 0),
      receive.frames,
    );
  });

  it('send by the queue that is named, by the first when none is', async () => {
    const port = await open({ queuePairs: 3 });
    const patterns = new PatternFrames([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    for (let i = 0; i < 10; i++) assert.ok(port.queues[2]?.send(patterns.make(i)));
    for (let i = 0; i < 5; i++) assert.ok(port.send(patterns.make(i)));
    await Promise.all(port.queues.map((queue) => queue.drained()));
    const { queues, transmit, link } = port.statistics();
    assert.deepEqual(
      queues.map((queue) => queue.transmit.frames),
      [5, 0, 10],
    );
    assert.equal(transmit.frames, 15);
    assert.equal(link.counters.receivePackets, 15);
  });

  it('go from 1 to 4 to 1 under traffic, and lose nothing that no counter shows', async () => {
    const port = await open({}, { multiQueue: true });
    const source = await openSource();
    const flows = flowsFrom(6001);
    const seen = new Set<string>();
    const busy = new Set<number>();
    port.on('receive', (batch) => {
      for (const { bytes } of batch) {
        const one = datagram(bytes);
        if (!one) continue;
        seen.add(`${String(one.flow)}:${String(one.number)}`);
        busy.add(batch.queue);
      }
    });
    const dropped = () => port.statistics().link.counters.transmitDropped;
    const sent = sendInTurns(source, flows, 100, () => seen.size + dropped());
    const until = async (condition: () => boolean) => {
      while (!condition()) await new Promise((resolve) => setImmediate(resolve));
    };
    await until(() => seen.size > 100);
    await port.setQueuePairs(4);
    assert.equal(port.queues.length, 4);
    await until(() => busy.size >= 2);
    const removed = port.queues[3];
    await port.setQueuePairs(1);
    assert.equal(port.queues.length, 1);
    assert.ok(removed);
    assert.equal(removed.closed, true);
    assert.throws(() => removed.send(new Uint8Array(60)), { code: 'ERR_VHOST_CLOSED' });
    const atOne = seen.size;
    await until(() => seen.size > atOne + 100);
    await port.setQueuePairs(2);
    await port.setQueuePairs(1);
    await sent;
    await until(() => seen.size + dropped() >= MANY * 100);
    const { receive, link } = port.statistics();
    assert.equal(receive.frames, link.counters.transmitPackets);
  });

  it('go from 3 to 1 while frames are sent, by one that leaves to its end, and account for each', async () => {
    const port = await open({ queuePairs: 3 });
    const leaving = port.queues[2];
    assert.ok(leaving);
    const patterns = new PatternFrames([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let taken = 0;
    const burst = () => {
      for (const queue of [leaving, ...port.queues]) {
        if (queue.closed) continue;
        for (let i = 0; i < 100 && queue.send(patterns.make(taken)); i++) taken++;
      }
    };
    burst();
    const resized = port.setQueuePairs(1);
    await Promise.resolve();
    assert.equal(port.queues.length, 1);
    while (!leaving.closed) {
      burst();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await resized;
    await port.drained();
    const { transmit, link } = port.statistics();
    assert.equal(transmit.frames, taken);
    assert.equal(transmit.inFlight, 0);
    assert.equal(link.counters.receivePackets + transmit.lost, taken);
  });

  it('that leave are waited for by what they hand over to be sent elsewhere from where it lies', async () => {
    const lastQueue = loadSocketFilter([{ code: 0xb7, dst: 0, immediate: 1 }, { code: 0x95 }]);
    const port = await open({ queuePairs: 2 }, { steering: lastQueue.fd });
    lastQueue.close();
    const sink = await openPort({ backend: { tap: 'sink', netns: network.name } });
    ports.push(sink);
    const source = await openSource(true);
    const cable = new Cable(port, sink);
    const before = port.statistics().link.counters.transmitPackets;
    const frames = 10; // fewer than are let go at once
    // No turn of the event loop from here on: they lie in the ring when the queue leaves.
    for (let i = 0; i < frames; i++) assert.ok(source.sendBlocking(makeDatagram(9001, i), LONG));
    assert.ok(source.drainedBlocking(LONG));
    const worker = port.queues[1]?.worker;
    assert.ok(worker);
    while (port.statistics().link.counters.transmitPackets < before + frames || !worker.sleeps);
    await port.setQueuePairs(1);
    await sink.drained();
    const { transmit, link } = sink.statistics();
    assert.deepEqual([transmit.lost, cable.counters(port)], [0, newFabricCounters()]);
    assert.ok(link.counters.receivePackets >= frames, String(link.counters.receivePackets));
    cable.close();
  });

  it('that leave hand over nothing while the port is paused: it is counted, and none is held for ever', async () => {
    const lastQueue = loadSocketFilter([{ code: 0xb7, dst: 0, immediate: 1 }, { code: 0x95 }]);
    const port = await open({ queuePairs: 2 }, { steering: lastQueue.fd });
    lastQueue.close();
    const source = await openSource();
    const held: Frame[] = [];
    const first = new Promise<void>((resolve) => {
      port.on('receive', (batch) => {
        for (const frame of batch) if (held.length < 1) held.push(frame.hold());
        resolve();
      });
    });
    source.send(makeDatagram(9001, 0));
    await first;
    assert.equal(port.statistics().receive.held, 1);
    port.pause();
    const { transmitPackets } = port.statistics().link.counters;
    for (let i = 0; i < 10; i++) source.send(makeDatagram(9001, i));
    await source.drained();
    while (port.statistics().link.counters.transmitPackets < transmitPackets + 10) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    await port.setQueuePairs(1);
    const { receive } = port.statistics();
    assert.equal(receive.held, 0);
    assert.ok(receive.lost >= 10, String(receive.lost));
    port.resume();
    const missing = () => {
      const { receive, link } = port.statistics();
      return link.counters.transmitPackets - receive.frames - receive.lost;
    };
    while (missing() > 0) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(missing(), 0);
  });

  it('are one for each of two Workers, and both carry traffic both ways', async function () {
    this.timeout(60_000);
    const workers = [0, 1].map(
      () => new Worker(path.join(__dirname, 'queues.worker.js'), { workerData: network.name }),
    );
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const source = await openSource();
    const answers = new Map<number, number>();
    let answered = 0;
    source.on('receive', (batch) => {
      for (const { bytes } of batch) {
        const one = datagram(bytes);
        if (!one || bytes[11] !== 2) continue; // only what a Worker sent
        answers.set(one.flow, (answers.get(one.flow) ?? 0) + 1);
        answered++;
      }
    });
    const flows = flowsFrom(8001);
    await sendInTurns(source, flows, 10, () => answered);
    while (answered < MANY * 10) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(
      flows.map((flow) => answers.get(flow)),
      flows.map(() => 10),
    );
    const closed = workers.map((worker) => once(worker, 'exit'));
    const told = workers.map(async (worker) => {
      const message = once(worker, 'message');
      worker.postMessage('how many');
      const [[count, tid]] = (await message) as [[number, number]];
      return { count, tid };
    });
    const reports = await Promise.all(told);
    assert.equal(
      reports.reduce((sum, { count }) => sum + count, 0),
      MANY * 10,
    );
    for (const { count } of reports) assert.ok(count > 0, 'a Worker had nothing to do');
    assert.notEqual(reports[0]?.tid, reports[1]?.tid);
    await Promise.all(closed);
  });

  it("are chosen by the caller's eBPF program, and sorted out by a classic one", async () => {
    const lastQueue = loadSocketFilter([{ code: 0xb7, dst: 0, immediate: 1 }, { code: 0x95 }]);
    const udpAlone = [
      [0x30, 0, 0, 23], // load the byte at 23, the protocol
      [0x15, 0, 1, 17], // UDP?
      [0x06, 0, 0, 0xffff], // all of it
      [0x06, 0, 0, 0], // nothing
    ] as const;
    const port = await open({ queuePairs: 2 }, { steering: lastQueue.fd, filter: udpAlone });
    lastQueue.close();
    const queues = new Set<number>();
    const protocols = new Set<number | undefined>();
    let received = 0;
    const all = new Promise<void>((resolve) => {
      port.on('receive', (batch) => {
        for (const { bytes } of batch) {
          queues.add(batch.queue);
          protocols.add(bytes[23]);
          if (++received === 40) resolve();
        }
      });
    });
    const source = await openSource();
    const other = makeDatagram(1, 1);
    other[23] = 1;
    for (let i = 0; i < 3; i++) source.send(other);
    await sendInTurns(source, [7001, 7002, 7003, 7004], 10, () => received);
    await all;
    assert.deepEqual([...queues], [1]);
    assert.deepEqual([...protocols], [17]);
    assert.ok(port.statistics().link.counters.transmitDropped >= 3);
  });

  it("are chosen by the caller's program also when the tap was made again, with that closed by then", async () => {
    const lastQueue = loadSocketFilter([{ code: 0xb7, dst: 0, immediate: 1 }, { code: 0x95 }]);
    const port = await open({ queuePairs: 2 }, { steering: lastQueue.fd });
    lastQueue.close();
    const repaired = new Promise<void>((resolve, reject) => {
      let reports = 0;
      port.on('error', reject);
      port.on('repair', () => {
        if (++reports === 2) resolve();
      });
    });
    network.ip('link', 'del', 'vn0');
    await repaired;
    const queues = new Set<number>();
    let received = 0;
    const all = new Promise<void>((resolve) => {
      port.on('receive', (batch) => {
        queues.add(batch.queue);
        received += batch.length;
        if (received >= 40) resolve();
      });
    });
    const source = await openSource();
    await sendInTurns(source, [7001, 7002, 7003, 7004], 10, () => received);
    await all;
    assert.deepEqual([...queues], [1]);
  });

  it('are added to the interface that was opened, also when that has another name by then', async () => {
    const port = await open({}, { multiQueue: true });
    network.ip('link', 'set', 'vn0', 'down');
    network.ip('link', 'set', 'vn0', 'name', 'vn1');
    await port.setQueuePairs(2);
    assert.deepEqual(network.interfaces(), ['lo', 'vn1']);
    assert.equal(port.statistics().link.name, 'vn1');
    const other = new TestNetwork();
    try {
      network.ip('link', 'set', 'vn1', 'netns', other.name);
      await assert.rejects(port.setQueuePairs(3), { code: 'ERR_VHOST_BACKEND_LOST' });
      assert.equal(port.queues.length, 2);
      assert.deepEqual(network.interfaces(), ['lo']);
      assert.throws(() => port.statistics(), { code: 'ENODEV' });
      await port.close();
      assert.deepEqual(other.interfaces(), ['lo']);
    } finally {
      other.close();
    }
  });

  it("leave the steering alone when they leave a tap that is another's too", async () => {
    // The last of three, and of two.
    const theirs = loadSocketFilter([{ code: 0xb7, dst: 0, immediate: 5 }, { code: 0x95 }]);
    const port = await open({ queuePairs: 2 });
    const other = await open({}, { multiQueue: true, steering: theirs.fd });
    theirs.close();
    const flows = [9101, 9102, 9103, 9104, 9105, 9106, 9107, 9108];
    let ours = 0;
    let received = 0;
    port.on('receive', (batch) => (ours += batch.length));
    const all = new Promise<void>((resolve) => {
      other.on('receive', (batch) => {
        received += batch.length;
        if (received >= 40) resolve();
      });
    });
    await port.setQueuePairs(1);
    const source = await openSource();
    await sendInTurns(source, flows, 5, () => received + ours);
    await all;
    assert.equal(ours, 0);
  });

  it('leave no program on a tap that stays when the port is closed before they are gone', async () => {
    const stays = { persistent: true };
    const first = await open({ queuePairs: 2 }, stays);
    first.on('receive', () => undefined);
    const resized = first.setQueuePairs(1);
    await Promise.resolve();
    await first.close();
    await resized;
    const port = await open({ queuePairs: 2 }, stays);
    const source = await openSource();
    const flows = Array.from({ length: 32 }, (_, i) => 9201 + i);
    const queues = new Set<number>();
    let received = 0;
    port.on('receive', (batch) => {
      queues.add(batch.queue);
      received += batch.length;
    });
    await sendInTurns(source, flows, 5, () => received);
    while (received < 160) await new Promise((resolve) => setImmediate(resolve));
    await port.close();
    network.ip('link', 'del', 'vn0');
    assert.deepEqual([...queues].sort(), [0, 1]);
  });

  it('are refused by a packet socket, and by a tap that was made with one queue', async () => {
    network.ip('link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1');
    const packet = { packet: 'v1', netns: network.name };
    await assert.rejects(
      openPort({ backend: packet, queuePairs: 2 }),
      ({ code, hint }: VhostError) => code === 'ERR_VHOST_BACKEND_QUEUES' && hint !== undefined,
    );
    network.ip('link', 'del', 'v0');
    const port = await open({});
    await assert.rejects(port.setQueuePairs(2), { code: 'ERR_VHOST_BACKEND_QUEUES' });
    assert.equal(port.queues.length, 1);
    await assert.rejects(port.setQueuePairs(0), RangeError);
    await assert.rejects(port.setQueuePairs(257), RangeError);
  });
});
