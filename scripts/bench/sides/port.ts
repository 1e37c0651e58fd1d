// This package. Usage: port.js tx copy|inplace TAP LENGTH
import { COUNTER_AT, benchFrame } from '../frame.js';
import { ready } from './ready.js';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';

const QUEUE_SIZE = 1024;

/** Sends for ever: until the ring is full, and again whenever there is room. */
function transmitFor(port: Port, send: () => boolean): void {
  const pump = () => {
    while (send());
  };
  port.on('drain', pump);
  ready();
  pump();
}

function copying(port: Port, length: number): () => boolean {
  const frame = benchFrame(length);
  return () => port.send(frame);
}

/** Slots keep what was written to them, and the one freed first comes first: once every slot holds the frame, only its counter is new. */
function inPlace(port: Port, length: number): () => boolean {
  const frame = benchFrame(length);
  let counter = 0;
  return () => {
    const reservation = port.reserve(length);
    if (!reservation) return false;
    const { bytes } = reservation;
    if (counter < QUEUE_SIZE) bytes.set(frame);
    bytes[COUNTER_AT] = counter;
    bytes[COUNTER_AT + 1] = counter >>> 8;
    bytes[COUNTER_AT + 2] = counter >>> 16;
    bytes[COUNTER_AT + 3] = counter >>> 24;
    counter++;
    port.commit(reservation);
    return true;
  };
}

async function main([, how, tap, length]: string[]): Promise<void> {
  const port = await openPort({ backend: { tap: tap ?? '' }, queueSize: QUEUE_SIZE });
  const make = how === 'copy' ? copying : inPlace;
  transmitFor(port, make(port, Number(length)));
}

void main(process.argv.slice(2));
