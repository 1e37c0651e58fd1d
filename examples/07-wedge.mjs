// Wedges a ring on purpose: a raw one, to see what the kernel does about it, and then a port's.
//
//   sudo node examples/07-wedge.mjs
import { once } from 'node:events';
import fs from 'node:fs';

import { DriverQueue, EventFd, Pages, Tap, VhostNet, openPort, splitLayout } from 'vhost-net';

const [SIZE, SLOT, TRANSMIT] = [64, 2048, 1];
const FRAME = Buffer.from('ffffffffffff' + '020000000002' + '88b5' + '00'.repeat(46), 'hex');
const PLAIN = new Uint8Array(12);
const REFUSED = Uint8Array.of(1, 0, 0, 0, 0, 0, 0xf0, 0xff, 0, 0, 0, 0); // a checksum from byte 65520 on
const FEATURES = (1n << 32n) | (1n << 15n); // VIRTIO_F_VERSION_1, VIRTIO_NET_F_MRG_RXBUF

/** CPU time that the kernel's worker has used, in milliseconds. */
function cpuTime({ kind, tid }) {
  const folder = kind === 'task' ? '/proc/self/task' : '/proc';
  return Number(fs.readFileSync(`${folder}/${tid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
}

const tap = Tap.open({ tap: 'vn0' });
tap.agree({ headerSize: PLAIN.length, features: FEATURES });
const vhost = new VhostNet();
vhost.setOwner();
vhost.setFeatures(FEATURES);
const [rings, pool] = [4096, 131072].map((byteLength) => Pages.allocate({ byteLength }));
vhost.setMemTable([{ guestAddress: 0n, byteLength: 131072n, hostAddress: pool.address }]);
const queue = new DriverQueue(rings.buffer, 0, { size: SIZE, eventIdx: false });
const { desc, avail, used } = splitLayout(SIZE);
const at = (offset) => rings.address + BigInt(offset);
const [kick, err] = [new EventFd(), new EventFd()];
vhost.setVringNum(TRANSMIT, SIZE);
vhost.setVringAddr(TRANSMIT, { desc: at(desc), avail: at(avail), used: at(used) });
vhost.setVringKick(TRANSMIT, kick);
vhost.setVringErr(TRANSMIT, err);
vhost.setBackend(TRANSMIT, tap.queues[0]);
const before = cpuTime(vhost.worker);
for (const header of [REFUSED, PLAIN, PLAIN]) {
  const id = queue.acquire();
  new Uint8Array(pool.buffer, id * SLOT).set(Buffer.concat([header, FRAME]));
  queue.setDescriptor(id, id * SLOT, header.length + FRAME.length, 0);
  queue.offer(id);
}
if (queue.publish()) kick.signal();
while (cpuTime(vhost.worker) - before < 100);
console.log(`raw: 100 ms of CPU, ${queue.poll()} of 3 frames sent, ${err.drain()} error events`);
vhost.setBackend(TRANSMIT, undefined);
for (const one of [vhost, tap, kick, err, rings, pool]) one.close();

const port = await openPort({ backend: { tap: 'vn0' } });
const reservation = port.reserve(FRAME.length);
port.commit(reservation); // with a good header; send() refuses others. So, behind its back:
new Uint8Array(reservation.bytes.buffer, reservation.bytes.byteOffset - 12).set(REFUSED);
for (let i = 0; i < 9; i++) port.send(FRAME);
const [{ cause, message, unsent, unknown }] = await once(port, 'repair');
console.log(`port: ${cause}: ${message}; lost ${unsent} unsent, ${unknown} unknown`);
for (let i = 0; i < 10; i++) port.send(FRAME);
await port.drained();
console.log(`then the kernel got ${port.statistics().link.counters.receivePackets} of 10 frames`);
await port.close();
