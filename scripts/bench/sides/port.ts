// This package. Usage: port.js KIND copy|packed|inplace|polling LENGTH TAP|macvtap:NAME...
import { COUNTER_AT, GSO_HEADER, benchFrame, gsoFrame, makeEchoReply } from '../frame.js';
import { ready } from './ready.js';
import { openPort } from '#lib/port/port';
import type { PortOptions } from '#lib/port/options';
import type { Port } from '#lib/port/port';
import type { FrameRun } from '#lib/port/transmit';

const QUEUE_SIZE = 1024;
/** What DPDK has: the less memory the worker goes round in, the more it receives. */
const RECEIVE_QUEUE_SIZE = 256;

/** Microseconds: longer than it ever takes until the next frame comes here. */
const POLLED = 10_000;

/** Sends for ever: until the ring is full, and again whenever there is room. */
function transmit(port: Port, send: () => boolean): void {
  const pump = () => {
    while (send());
  };
  port.on('drain', pump);
  ready();
  pump();
}

/** Slots keep what was written to them: once every slot holds the frame, only its counter is new. */
function inPlace(port: Port, length: number): () => boolean {
  const frame = benchFrame(length);
  let counter = 0;
  const template = ({ bytes, stride, count }: FrameRun) => {
    for (let i = 0; i < count; i++) bytes.set(frame, i * stride);
  };
  const write = (run: FrameRun) => {
    if (counter < QUEUE_SIZE) template(run);
    const { bytes, stride } = run;
    const { length } = bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset, length);
    let next = counter | 0; // says that it is a whole number: else each step converts it
    for (let to = COUNTER_AT; to < length; to = (to + stride) | 0, next = (next + 1) | 0) {
      view.setUint32(to, next, true);
    }
    counter = next;
  };
  return () => port.sendInPlace(QUEUE_SIZE, length, write) === QUEUE_SIZE;
}

/** Long frames with payload that is there already, as what is read from a disk to a slot: headers are written. */
function reserved(port: Port, frame: Uint8Array): () => boolean {
  const headers = frame.slice(0, 128);
  const filled = new Set<number>();
  return () => {
    const reservation = port.reserve(frame.length);
    if (!reservation) return false;
    const { bytes } = reservation;
    bytes.set(filled.has(bytes.byteOffset) ? headers : frame);
    filled.add(bytes.byteOffset);
    port.commit(reservation, GSO_HEADER);
    return true;
  };
}

/** Frames that are there, one behind the other, as those of a capture or a generator are. */
function packed(port: Port, frameLength: number): () => boolean {
  const bytes = new Uint8Array(QUEUE_SIZE * frameLength);
  for (let at = 0; at < bytes.length; at += frameLength) bytes.set(benchFrame(frameLength), at);
  const frames = { bytes, frameLength };
  return () => port.sendBatch(frames) === QUEUE_SIZE;
}

function receive(port: Port): void {
  port.on('receive', (batch) => {
    for (const { length } of batch) if (length === 0) throw new Error('a frame without bytes');
  });
  ready();
}

function answer(port: Port): void {
  port.on('receive', (batch) => {
    for (const { bytes } of batch) if (makeEchoReply(bytes)) port.send(bytes);
  });
  ready();
}

/** Without room a frame is lost, as in any switch. */
function forward(from: Port, to: Port): void {
  from.on('receive', (batch) => {
    for (const frame of batch) to.forward(frame);
    to.flush();
  });
}

function backendOf(text: string): PortOptions['backend'] {
  const [, macvtap] = text.split(':');
  return macvtap === undefined ? { tap: text } : { macvtap };
}

async function openPorts(
  kind: string,
  pollMicroseconds: number,
  backends: readonly string[],
): Promise<[Port, Port | undefined]> {
  const offloads = kind === 'gso' || kind === 'tcp' ? 'auto' : 'none';
  const queueSize = kind === 'rx' ? RECEIVE_QUEUE_SIZE : QUEUE_SIZE;
  const open = (text: string) =>
    openPort({ backend: backendOf(text), queueSize, offloads, pollMicroseconds });
  const [first = '', second] = backends;
  return [await open(first), second === undefined ? undefined : await open(second)];
}

async function main([kind = '', how, length, ...backends]: string[]): Promise<void> {
  const [port, other] = await openPorts(kind, how === 'polling' ? POLLED : 0, backends);
  const frame = (kind === 'gso' ? gsoFrame : benchFrame)(Number(length));
  if (other) {
    forward(port, other);
    forward(other, port);
    ready();
  } else if (kind === 'rx') receive(port);
  else if (kind === 'echo') answer(port);
  else if (kind === 'gso' && how === 'copy') transmit(port, () => port.send(frame, GSO_HEADER));
  else if (kind === 'gso') transmit(port, reserved(port, frame));
  else if (how === 'copy') transmit(port, () => port.send(frame));
  else if (how === 'packed') transmit(port, packed(port, frame.length));
  else transmit(port, inPlace(port, frame.length));
}

void main(process.argv.slice(2));
