// One attack on the lifetime of a port, in a process that may die of it: lifetime.program.js ATTACK NETNS.
// What it prints last is its verdict.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import * as vhost from '#lib/index';
import { native } from '#lib/native';
import { JOBS } from '../support/jobs.js';
import { processState } from '../support/process-state.js';

const [netns = '', attack = ''] = isMainThread
  ? [process.argv[3], process.argv[2]]
  : (workerData as [string, string]);

const open = (tap = 'vn0', options = {}) =>
  vhost.openPort({
    backend: { tap, addresses: ['10.9.0.1/24'], netns },
    queueSize: 64,
    ...options,
  });

type Callable = (...args: unknown[]) => unknown;

const FRAME = new Uint8Array(60);

/** How many Workers come and go in one process. */
const ROUNDS = Number(process.env['VHOST_LIFETIME_ROUNDS'] ?? 10);

/** The host asks who has 10.9.0.2, again and again: frames for the port to receive. */
function hostSends(): void {
  const args = ['netns', 'exec', netns, 'ping', '-c', '20', '-i', '0.01', '-w', '2', '10.9.0.2'];
  spawn('ip', args, { stdio: 'ignore' }).unref();
}

/** More than the ring holds: a drain follows. */
function fill(port: vhost.Port): void {
  while (port.send(FRAME));
}

async function collectGarbage(): Promise<void> {
  for (let round = 0; round < 5; round++) {
    global.gc?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Runs this file as a Worker until it says that its port runs. */
async function startWorker(task: string): Promise<Worker> {
  const worker = new Worker(__filename, { workerData: [netns, task] });
  worker.on('error', () => undefined); // later ones; once() rejects with one that comes first
  await once(worker, 'message');
  return worker;
}

/** Nothing of a Worker's may be left in the process. */
async function overAndOver(task: string, end: (worker: Worker) => unknown): Promise<void> {
  const round = async () => {
    const worker = await startWorker(task);
    // Not by once(): that rejects with the error of which a Worker may well die.
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    void end(worker);
    await exited;
  };
  await round(); // the first Worker of a process opens what later ones share
  const before = processState();
  for (let count = 0; count < ROUNDS; count++) await round();
  await collectGarbage();
  assert.deepEqual(processState(), before);
}

/** Everything that a prototype has, called with nothing and with nonsense: an answer or an error. */
function useEveryMember(object: object, known: RegExp): string[] {
  const wrong: string[] = [];
  for (const [name, member] of Object.entries(
    Object.getOwnPropertyDescriptors(Object.getPrototypeOf(object) as object),
  )) {
    const { value, get } = member as Partial<Record<'value' | 'get', Callable>>;
    const call = value ?? get;
    if (name === 'constructor' || !call) continue;
    for (const args of [[], [0, 1], [FRAME], [object, object]]) {
      try {
        const answer = Reflect.apply(call, object, args);
        if (answer instanceof Promise) answer.catch(() => undefined);
      } catch (error) {
        if (!known.test(String(error)))
          wrong.push(`${name}(${String(args.length)}): ${String(error)}`);
      }
    }
  }
  return wrong;
}

const ATTACKS: Record<string, () => Promise<unknown>> = {
  async 'exit with an open port'() {
    fill(await open());
    process.exit(7);
  },
  'exit before open() has answered': () => {
    void open();
    process.exit(7);
  },
  async 'exit inside receive'() {
    (await open()).on('receive', () => process.exit(7));
    hostSends();
  },
  async 'exit inside drain'() {
    const port = await open();
    port.on('drain', () => process.exit(7));
    fill(port);
  },
  async 'exit inside close'() {
    const port = await open();
    port.on('close', () => process.exit(7));
    await port.close();
  },
  async 'exit inside the exit event, closing there'() {
    const port = await open();
    fill(port);
    process.on('exit', () => void port.close());
    process.exit(7);
  },
  async 'an uncaught exception inside receive'() {
    (await open()).on('receive', () => {
      throw new Error('of a handler');
    });
    hostSends();
  },
  async 'an uncaught exception inside drain'() {
    const port = await open();
    port.on('drain', () => {
      throw new Error('of a handler');
    });
    fill(port);
  },
  async 'an exception inside receive that somebody catches'() {
    const port = await open();
    let thrown = 0;
    let caught = 0;
    process.on('uncaughtException', () => {
      if (++caught === 3) void port.close();
    });
    port.on('receive', () => {
      thrown++;
      throw new Error('of a handler');
    });
    hostSends();
    await once(port, 'close');
    assert.equal(thrown, caught);
  },
  async 'a signal that kills'() {
    fill(await open());
    process.kill(process.pid, 'SIGKILL');
  },
  async 'views that outlive everything, through garbage collection'() {
    const views: Uint8Array[] = [];
    const drop = async () => {
      const port = await open();
      const reservation = port.reserve(60);
      assert.ok(reservation);
      views.push(reservation.bytes);
      const pages = vhost.Pages.allocate({ byteLength: 1 << 20 });
      views.push(new Uint8Array(pages.buffer));
      hostSends();
      const [batch] = (await once(port, 'receive')) as [vhost.ReceiveBatch];
      views.push(batch.length > 0 ? batch.at(0).first : FRAME);
      port.unref();
    };
    await drop();
    await collectGarbage();
    for (const view of views) view.fill(1);
    assert.equal(native.pagesCount() > 0, true);
  },
  async 'held frames of a closed port'() {
    const port = await open();
    hostSends();
    const held: vhost.Frame[] = [];
    const [batch] = (await once(port.on('receive', keep), 'receive')) as [vhost.ReceiveBatch];
    function keep(frames: vhost.ReceiveBatch): void {
      for (const frame of frames) held.push(frame.hold());
    }
    assert.ok(batch);
    await port.close();
    await collectGarbage();
    for (const frame of held) {
      assert.equal(frame.bytes.length, 0);
      assert.equal(frame.first.length, 0);
      assert.deepEqual(useEveryMember(frame, /VhostError|TypeError|RangeError/), []);
    }
    assert.equal(native.pagesCount(), 0);
  },
  async 'jobs of other threads over its memory, under which it closes'() {
    const round = async (job: (typeof JOBS)[string]) => {
      const port = await open();
      const reservation = port.reserve(60);
      assert.ok(reservation);
      const done = job(new Uint8Array(reservation.bytes.buffer as ArrayBuffer));
      await port.close();
      assert.equal(native.pagesCount(), 0);
      await done.catch(() => undefined);
    };
    for (const job of Object.values(JOBS)) await round(job);
    await collectGarbage();
    assert.equal(native.pagesReserved(), 0);
  },
  async 'every member of everything, after close()'() {
    const before = processState();
    const port = await open();
    const tap = vhost.Tap.open({ tap: 'vn1', netns });
    const owned = [port, tap, new vhost.VhostNet(), new vhost.EventFd()];
    const pages = vhost.Pages.allocate({ byteLength: 4096, shared: true });
    const { buffer, address } = pages;
    const region = { guestAddress: 0, hostAddress: address, buffer, byteLength: 4096 };
    const objects = [...owned, pages, new vhost.GuestMemory([region])];
    for (const object of objects) await object.close();
    const wrong = objects.flatMap((object) => useEveryMember(object, /Error/));
    assert.deepEqual(wrong, []);
    await collectGarbage();
    assert.deepEqual(processState(), before);
  },
  async 'two ports on one tap, of two threads'() {
    const worker = await startWorker('a port that runs');
    await assert.rejects(open(), { code: 'EBUSY' });
    await assert.rejects(open(), { code: 'EBUSY' });
    await worker.terminate();
    await (await open()).close();
  },
  async 'Workers terminated while a port runs'() {
    await overAndOver('a port that runs', (worker) => worker.terminate());
  },
  async 'Workers terminated while ports open and close'() {
    await overAndOver('ports that come and go', (worker) => worker.terminate());
  },
  async 'Workers that exit while a port runs'() {
    await overAndOver('a port that runs', (worker) => {
      worker.postMessage('exit');
    });
  },
  async 'Workers that die of a handler'() {
    await overAndOver('a handler that throws', () => undefined);
  },
  async 'exit while Workers run ports'() {
    await startWorker('a port that runs');
    process.exit(7);
  },
};

/** What Workers do; the main thread decides how they end. */
const TASKS: Record<string, () => Promise<void>> = {
  async 'a port that runs'() {
    const port = await open();
    port
      .on('receive', () => undefined)
      .on('drain', () => {
        fill(port);
      });
    hostSends();
    fill(port);
    parentPort?.on('message', () => process.exit(0)).postMessage('runs');
  },
  async 'ports that come and go'() {
    parentPort?.postMessage('runs');
    for (;;) {
      const port = await open();
      fill(port);
      await port.close();
    }
  },
  async 'a handler that throws'() {
    const port = await open();
    port.on('drain', () => {
      throw new Error('of a handler');
    });
    parentPort?.postMessage('runs');
    fill(port);
  },
};

async function main(): Promise<void> {
  const work = isMainThread ? ATTACKS[attack] : TASKS[attack];
  if (!work) throw new Error(`no attack ${attack}`);
  await work();
}

if (isMainThread && attack === '') console.log(Object.keys(ATTACKS).join('\n'));
else void main();
