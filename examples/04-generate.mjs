// Sends UDP datagrams with a sequence number at an even pace, to 10.9.0.255, port 9 ("discard").
//
//   sudo node examples/04-generate.mjs 5000 25000     (so many a second, so many altogether)
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { openPort } from 'vhost-net';

const [rate = 5000, total = 25000] = process.argv.slice(2).map(Number);
const PAYLOAD = 42; // behind Ethernet (14 bytes), IPv4 (20) and UDP (8)
const LENGTH = 60;

function checksum(bytes) {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/** A frame that lacks only its sequence number. A UDP checksum of 0 means: none. */
function template() {
  const frame = Buffer.alloc(LENGTH);
  frame.write('ffffffffffff' + '020000000002' + '0800', 'hex');
  frame.write('4500' + '0000' + '00000000' + '4011' + '0000' + '0a090002' + '0a0900ff', 14, 'hex');
  frame.writeUInt16BE(LENGTH - 14, 16);
  frame.writeUInt16BE(checksum(frame.subarray(14, 34)), 24);
  frame.write('0009' + '0009', 34, 'hex');
  frame.writeUInt16BE(LENGTH - 34, 38);
  return frame;
}

const port = await openPort({ backend: { tap: 'vn0', addresses: ['10.9.0.1/24'] } });
const frame = template();
const start = performance.now();
for (let sent = 0; sent < total;) {
  const due = Math.min(total, 1 + Math.floor(((performance.now() - start) / 1000) * rate));
  while (sent < due) {
    frame.writeUInt32BE(sent, PAYLOAD);
    if (port.send(frame)) sent++;
    else await once(port, 'drain'); // the worker is behind: wait, and lose nothing
  }
  await sleep(1);
}
await port.drained();
const seconds = (performance.now() - start) / 1000;
const { receivePackets, receiveDropped } = port.statistics().link.counters;
console.log(
  `${total} sent in ${seconds.toFixed(3)} s; the kernel got ${receivePackets}, dropped ${receiveDropped}`,
);
await port.close();
