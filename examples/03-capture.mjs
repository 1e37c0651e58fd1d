// Writes what the kernel sends to a tap into a file that tcpdump and Wireshark read. Ctrl-C ends it.
//
//   sudo node examples/03-capture.mjs capture.pcap
import fs from 'node:fs';

import { openPort } from 'vhost-net';

const ETHERNET = 1; // LINKTYPE_ETHERNET
const LONGEST = 65535;

function fileHeader() {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b23c4d, 0); // time stamps in nanoseconds
  header.writeUInt16LE(2, 4); // version 2.4
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(LONGEST, 16);
  header.writeUInt32LE(ETHERNET, 20);
  return header;
}

/** One time stamp for all frames of a batch: they came together. */
function frameHeader(milliseconds, length) {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(Math.floor(milliseconds / 1000), 0);
  header.writeUInt32LE(Math.floor((milliseconds % 1000) * 1e6), 4);
  header.writeUInt32LE(length, 8); // bytes in the file
  header.writeUInt32LE(length, 12); // bytes on the wire
  return header;
}

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error('usage: 03-capture.mjs FILE');
const file = fs.openSync(path, 'w');
fs.writeSync(file, fileHeader());

const port = await openPort({ backend: { tap: 'vn0', addresses: ['10.9.0.1/24'] } });

port.on('receive', (batch) => {
  const now = performance.timeOrigin + performance.now();
  const pieces = [];
  // The frames are borrowed until this handler returns: written at once, they need no copy.
  for (const frame of batch) pieces.push(frameHeader(now, frame.length), frame.bytes);
  fs.writevSync(file, pieces);
});

process.once('SIGINT', async () => {
  console.log(`${port.statistics().receive.frames} frames in ${path}`);
  await port.close();
  fs.closeSync(file);
});
console.log(`${port.name} is captured`);
