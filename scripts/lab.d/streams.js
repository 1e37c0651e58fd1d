'use strict';
// usage: streams.js MARK PULSE FROM:TO...   (PULSE: a named pipe, or nothing; FROM, TO: descriptors)
// Copies the machine's streams to ours. Each ends with a mark that the machine adds: only when all are
// through may the machine go away, because its kernel does not wait for what it has written to a port.
// Exit status: 0 when every mark was seen, 1 when a stream ended without; ended by SIGUSR2 when our reader
// is gone.
//
// Beside it the machine gets a pulse: four times a second a byte, and so an interrupt. QEMU's emulation of
// SVM changes its CPU's pending interrupts without a lock, and one that comes at that moment, such as the
// tick of the machine's clock, is not looked at before the next. With a guest that computes in the
// machine none would come.

const fs = require('node:fs');
const { promisify } = require('node:util');
const { setTimeout: pause } = require('node:timers/promises');

const read = promisify(fs.read);
const write = promisify(fs.write);

async function writeAll(fd, bytes) {
  for (let done = 0; done < bytes.length;) {
    try {
      done += (await write(fd, bytes, done)).bytesWritten;
    } catch (error) {
      // Whoever gave us this descriptor may have made it non-blocking.
      if (error.code !== 'EAGAIN') throw error;
      await pause(5);
    }
  }
}

/** How many of the last bytes are the mark, or may be its beginning. */
function undecided(bytes, mark) {
  for (let count = Math.min(mark.length, bytes.length); count > 0; count--) {
    if (bytes.subarray(bytes.length - count).equals(mark.subarray(0, count))) return count;
  }
  return 0;
}

async function copy(from, to, mark) {
  const buffer = Buffer.alloc(65536);
  let kept = Buffer.alloc(0);
  for (;;) {
    const { bytesRead } = await read(from, buffer, 0, buffer.length, null);
    const bytes = Buffer.concat([kept, buffer.subarray(0, bytesRead)]);
    const keep = bytesRead === 0 ? 0 : undecided(bytes, mark);
    await writeAll(to, bytes.subarray(0, bytes.length - keep));
    if (bytesRead === 0 || keep === mark.length) return keep > 0;
    kept = bytes.subarray(bytes.length - keep);
  }
}

// Not by exit(), which waits for the other stream's read to return.
function giveUp(error) {
  const readerGone = error.code === 'EPIPE';
  if (!readerGone) process.stderr.write(`lab: ${error.message}\n`);
  process.kill(process.pid, readerGone ? 'SIGUSR2' : 'SIGTERM');
}

const PULSE_MS = 250;

/** Nobody has to read it: then the pipe is full one day. */
function beginPulse(path) {
  const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  const beat = () => fs.write(fd, '.', () => undefined);
  setInterval(beat, PULSE_MS).unref();
}

async function main() {
  const [word, pulse, ...pairs] = process.argv.slice(2);
  if (pulse !== '') beginPulse(pulse);
  // No text holds this byte, so that nobody's prompt has to wait until it is told from the mark.
  const mark = Buffer.concat([Buffer.of(0xff), Buffer.from(word)]);
  const copies = pairs.map((pair) => copy(...pair.split(':').map(Number), mark));
  process.exitCode = (await Promise.all(copies)).every(Boolean) ? 0 : 1;
}

main().catch(giveUp);
