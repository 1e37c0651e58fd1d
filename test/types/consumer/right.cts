// A program that must compile: the whole of a port's life, as a CommonJS module sees it.
import vhost = require('vhost-net');
import { Port, Tap, VhostSystemError, openPort } from 'vhost-net';
import type { Frame, FrameCopy, PortOptions, PortStatistics, ReceiveBatch } from 'vhost-net';

const options: PortOptions = {
  backend: { tap: 'vn0', addresses: ['10.9.0.1/24'], mtu: 1500 },
  queueSize: 256,
  offloads: 'auto',
  signal: AbortSignal.timeout(1000),
};

function answer(port: Port, batch: ReceiveBatch): number {
  for (const frame of batch) {
    const bytes: Uint8Array = frame.bytes;
    const taken: boolean = port.send(bytes, frame.header);
    if (!taken) keep(frame);
  }
  return batch.length;
}

function keep(frame: Frame): void {
  frame.hold();
  frame.release();
}

async function live(): Promise<PortStatistics> {
  await using port: Port = await openPort(options);
  port.on('receive', (batch) => answer(port, batch));
  port.once('error', (error: Error) => console.error(error.message));
  const reservation = port.reserve(60);
  if (reservation) {
    reservation.bytes.fill(0);
    port.commit(reservation);
  }
  for await (const frame of port) {
    const copy: FrameCopy = frame;
    if (port.sendBatch([copy.bytes]) === 0) await port.drained();
    const packed: vhost.PackedFrames = { bytes: new Uint8Array(128), frameLength: 64 };
    port.queues[0]?.sendBatch(packed);
  }
  return port.statistics();
}

function hint(error: unknown): string | undefined {
  return error instanceof VhostSystemError
    ? `${error.code} ${error.request} ${String(error.errno)} ${error.hint ?? ''}`
    : undefined;
}

const tap: vhost.Backend = Tap.open({ tap: 'vn%d' });
const same: typeof vhost.openPort = openPort;
export = { live, hint, tap, same };
