import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import dgram from 'node:dgram';
import { once } from 'node:events';
import fs from 'node:fs';

import { TraceInstance } from './instance.js';
import type { Blindness } from './instance.js';
import { HEADER_SIZE, answer, carries } from './echo.js';
import { RingReader } from './rings.js';
import type { RingImages } from './rings.js';
import { openPort } from '../index.js';
import type {
  IoctlMessage,
  Port,
  PortMessage,
  PortStatistics,
  ReceiveBatch,
  WorkerThread,
} from '../index.js';

const ADDRESS = '10.9.0.1';
const PEER = '10.9.0.2';
const ECHO_PORT = 7;
const QUEUE_SIZE = 64;
const PAYLOAD = Buffer.from('one frame, step by step');

/** When, by `process.hrtime`, and how the rings lay in memory then. */
export interface Moment {
  readonly at: bigint;
  readonly rings: RingImages;
}

/** A frame as it was met: whose slot it lay in, and what was read there past the port. */
export interface Sighting extends Moment {
  readonly head: number;
  /** virtio-net header and frame, from the slot. */
  readonly slot: Buffer;
}

/** All that was seen of one frame's way; what did not happen is not there. */
export interface Walk {
  readonly tap: string;
  readonly payload: Buffer;
  readonly reader: RingReader;
  readonly ioctls: { readonly at: bigint; readonly message: IoctlMessage }[];
  worker?: WorkerThread;
  kernel?: TraceInstance | Blindness;
  opened?: Moment;
  before?: PortStatistics;
  sent?: Moment;
  taken?: Sighting;
  handled?: { readonly at: bigint; readonly frame: Buffer };
  put?: Sighting & { readonly reply: Buffer };
  published?: Moment;
  replied?: { readonly at: bigint; readonly payload: Buffer };
  done?: Moment;
  after?: PortStatistics;
}

/** Events of the kernel that tell of the frame, of the worker and of this thread; filters for each. */
function watched(tap: string, worker: number): [event: string, filter: string][] {
  const [dev, own] = [`name == "${tap}"`, String(process.pid)];
  const calls = ['enter_read', 'exit_read', 'enter_write', 'exit_write'];
  return [
    ['net:net_dev_start_xmit', dev],
    ['net:net_dev_xmit', dev],
    ['net:netif_receive_skb', dev],
    ['sched:sched_waking', `pid == ${String(worker)} || pid == ${own}`],
    ['sched:sched_switch', `next_pid == ${String(worker)} || next_pid == ${own}`],
    ['skb:skb_copy_datagram_iovec', `common_pid == ${String(worker)}`],
    ...calls.map((call): [string, string] => [`syscalls:sys_${call}`, `common_pid == ${own}`]),
  ];
}

/** Begins to record what the kernel does, as soon as the worker is there. */
function watchKernel(tap: string, worker: WorkerThread | undefined): TraceInstance | Blindness {
  if (!worker) return { reason: 'it can not be known which thread the worker is' };
  if (worker.name !== `vhost-${String(process.pid)}`) {
    return { reason: 'this is a PID namespace, and the kernel numbers threads otherwise' };
  }
  const instance = TraceInstance.make(`vhost-net-${String(process.pid)}`);
  if (!(instance instanceof TraceInstance)) return instance;
  process.once('exit', () => {
    instance.close(); // also when something was thrown past us
  });
  for (const [event, filter] of watched(tap, worker.tid)) instance.watch(event, filter);
  return instance;
}

/** Listens to what the package tells of itself while `body` runs. */
async function listening<T>(walk: Walk, body: () => Promise<T>): Promise<T> {
  const onIoctl = (message: unknown) => {
    walk.ioctls.push({ at: process.hrtime.bigint(), message: message as IoctlMessage });
    walk.reader.hear(message as IoctlMessage);
  };
  const onPort = (message: unknown) => {
    const { state, worker } = message as PortMessage;
    if (state !== 'opened') return;
    if (worker) walk.worker = worker;
    walk.kernel = watchKernel(walk.tap, worker);
  };
  subscribe('vhost-net:ioctl', onIoctl);
  subscribe('vhost-net:port', onPort);
  try {
    return await body();
  } finally {
    unsubscribe('vhost-net:ioctl', onIoctl);
    unsubscribe('vhost-net:port', onPort);
  }
}

function moment(walk: Walk): Moment {
  return { at: process.hrtime.bigint(), rings: walk.reader.look() };
}

/** Notes the frame when it is in a batch, before any other handler has it. */
function witness(walk: Walk, batch: ReceiveBatch): void {
  if (!walk.sent || walk.taken) return;
  const { at, rings } = moment(walk);
  const isThere = [...batch].some(({ bytes }) => carries(Buffer.from(bytes), walk.payload));
  const slot = isThere ? usedSlot(walk, walk.sent.rings, rings) : undefined;
  if (slot) walk.taken = { at, rings, ...slot };
}

/** Looks for the frame in what the device has used since, in the ring itself. */
function usedSlot({ reader, payload }: Walk, since: RingImages, now: RingImages) {
  const ring = now.receive;
  const from = since.receive.usedIdx;
  const slots = Array.from({ length: (ring.usedIdx - from) & 0xffff }, (_, i) => {
    const { head, length } = ring.used(from + i);
    return { head, slot: reader.slot(ring.descriptor(head), length) };
  });
  return slots.find(({ slot }) => carries(slot.subarray(HEADER_SIZE), payload));
}

/** The handler of somebody who answers; what it does with the frame that is followed is noted. */
function respond(walk: Walk, port: Port, batch: ReceiveBatch): void {
  for (const { bytes } of batch) {
    const at = process.hrtime.bigint();
    const frame = Buffer.from(bytes);
    const reply = answer(frame);
    if (!reply || !port.send(reply)) continue;
    if (!walk.sent || walk.put || !carries(frame, walk.payload)) continue;
    walk.handled = { at, frame };
    notePut(walk, walk.sent, reply);
  }
}

function notePut(walk: Walk, sent: Moment, reply: Buffer): void {
  const { at, rings } = moment(walk);
  const head = rings.transmit.availHead(sent.rings.transmit.availIdx);
  const descriptor = rings.transmit.descriptor(head);
  const slot = walk.reader.slot(descriptor, descriptor.length);
  walk.put = { at, rings, head, slot, reply };
  // The port has asked for its own turn at the end of this one before we do.
  queueMicrotask(() => {
    walk.published = moment(walk);
  });
}

async function exchange(socket: dgram.Socket, payload: Buffer, signal: AbortSignal) {
  const answered = once(socket, 'message', { signal });
  socket.send(payload);
  const [received] = (await answered) as [Buffer];
  return received;
}

/** Once there and back, so that addresses are resolved; then nobody is awake any more. */
async function warmUp(walk: Walk, socket: dgram.Socket, port: Port, signal: AbortSignal) {
  await exchange(socket, Buffer.from('first of all'), signal);
  await port.drained();
  while (walk.worker?.sleeps === false) {
    signal.throwIfAborted();
    await new Promise(setImmediate);
  }
}

async function follow(walk: Walk, socket: dgram.Socket, port: Port, signal: AbortSignal) {
  await warmUp(walk, socket, port, signal);
  walk.before = port.statistics();
  walk.sent = moment(walk);
  const payload = await exchange(socket, walk.payload, signal);
  walk.replied = { at: process.hrtime.bigint(), payload };
  await port.drained();
  walk.done = moment(walk);
  walk.after = port.statistics();
}

async function connect(socket: dgram.Socket, signal: AbortSignal): Promise<void> {
  socket.bind(0, ADDRESS);
  await once(socket, 'listening', { signal });
  socket.connect(ECHO_PORT, PEER);
  await once(socket, 'connect', { signal });
}

/** Router solicitations and the like would be frames as well. Where this is refused they are told apart. */
function quieten(): void {
  try {
    fs.writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
  } catch {
    // No IPv6, or /proc/sys is read-only.
  }
}

/** A walk that has not begun. */
export function newWalk(): Walk {
  const tap = `vnt${String(process.pid)}`;
  return { tap, payload: PAYLOAD, reader: new RingReader(), ioctls: [] };
}

/**
 * Opens a port in this thread's network namespace, lets the kernel's stack send one datagram to a host
 * behind it, and notes what is seen of it in `walk`. Everything is taken down again but the reader and
 * the tracing instance.
 */
export async function takeWalk(walk: Walk, signal: AbortSignal): Promise<void> {
  quieten();
  const backend = { tap: walk.tap, addresses: [`${ADDRESS}/24`] };
  const open = () => openPort({ backend, queueSize: QUEUE_SIZE, signal });
  const port = await listening(walk, open);
  try {
    walk.opened = moment(walk);
    listen(walk, port);
    await converse(walk, port, signal);
  } finally {
    await port.close();
  }
}

/** First who only looks, then who answers. */
function listen(walk: Walk, port: Port): void {
  port.on('receive', (batch) => {
    witness(walk, batch);
  });
  port.on('receive', (batch) => {
    respond(walk, port, batch);
  });
}

async function converse(walk: Walk, port: Port, signal: AbortSignal): Promise<void> {
  const socket = dgram.createSocket('udp4');
  try {
    await connect(socket, signal);
    await follow(walk, socket, port, signal);
  } finally {
    socket.close();
  }
}
