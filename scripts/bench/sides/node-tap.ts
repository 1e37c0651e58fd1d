// What a Node program can do by itself: fs.readSync and fs.writeSync for each frame, on taps given as
// descriptors 3 and 4. Usage: node-tap.js KIND LENGTH
import fs from 'node:fs';
import { Worker, isMainThread, workerData } from 'node:worker_threads';

import { GSO_HEADER, benchFrame, gsoFrame, makeEchoReply } from '../frame.js';
import { ready } from './ready.js';
import { writeHeader } from '#lib/ring/net-header';

const TAP = 3;
const OTHER = 4;
const LONGEST = 65553;
const LEGACY_HEADER = 10;

function transmit(bytes: Uint8Array): never {
  for (;;) fs.writeSync(TAP, bytes);
}

function receive(): never {
  const buffer = new Uint8Array(LONGEST);
  for (;;) fs.readSync(TAP, buffer);
}

function answer(): never {
  const buffer = new Uint8Array(LONGEST);
  for (;;) {
    const frame = buffer.subarray(0, fs.readSync(TAP, buffer));
    if (makeEchoReply(frame)) fs.writeSync(TAP, frame);
  }
}

/** One way only: a thread can wait for one descriptor at a time. */
function forward(from: number, to: number): never {
  const buffer = new Uint8Array(LONGEST);
  for (;;) fs.writeSync(to, buffer, 0, fs.readSync(from, buffer));
}

function withGsoHeader(frame: Uint8Array): Uint8Array {
  const words = new Uint16Array(6);
  writeHeader(words, 0, GSO_HEADER);
  return Buffer.concat([new Uint8Array(words.buffer, 0, LEGACY_HEADER), frame]);
}

function main([kind, length]: string[]): void {
  if (kind === 'forward' || kind === 'tcp') new Worker(__filename, { workerData: 'back' });
  ready();
  if (kind === 'tx') transmit(benchFrame(Number(length)));
  if (kind === 'gso') transmit(withGsoHeader(gsoFrame(Number(length))));
  if (kind === 'rx') receive();
  if (kind === 'echo') answer();
  forward(TAP, OTHER);
}

if (isMainThread) main(process.argv.slice(2));
else if (workerData === 'back') forward(OTHER, TAP);
