// A host that exists only in this process: it answers ARP and ping. Ctrl-C ends it.
//
//   sudo node examples/02-responder.mjs     and in another terminal:     ping 10.9.0.2
import { openPort } from 'vhost-net';

const MAC = Buffer.from('020000000002', 'hex');
const IP = Buffer.from([10, 9, 0, 2]);

/** RFC 826: an ARP request for our address becomes a reply, in place. */
function arp(frame) {
  if (frame.readUInt16BE(20) !== 1 || !frame.subarray(38, 42).equals(IP)) return false;
  frame.writeUInt16BE(2, 20);
  frame.copy(frame, 32, 22, 32); // who asked is told
  MAC.copy(frame, 22);
  IP.copy(frame, 28);
  return true;
}

/** RFC 792: an echo request becomes a reply, in place. */
function echo(frame) {
  const [version, protocol, type] = [frame[14], frame[23], frame[34]];
  if (version !== 0x45 || protocol !== 1 || type !== 8 || !frame.subarray(30, 34).equals(IP))
    return false;
  frame.copy(frame, 30, 26, 30); // back to the sender
  IP.copy(frame, 26);
  frame[34] = 0;
  const sum = frame.readUInt16BE(36) + 0x0800; // the type lost 8, so the checksum gains it
  frame.writeUInt16BE((sum & 0xffff) + (sum >> 16), 36);
  return true;
}

const port = await openPort({ backend: { tap: 'vn0', addresses: ['10.9.0.1/24'] } });

port.on('receive', (batch) => {
  for (const received of batch) {
    const frame = Buffer.from(received.bytes); // a copy: the original is the kernel's memory
    const etherType = frame.readUInt16BE(12);
    const answered = etherType === 0x0806 ? arp(frame) : etherType === 0x0800 && echo(frame);
    if (!answered) continue;
    frame.copy(frame, 0, 6, 12);
    MAC.copy(frame, 6);
    port.send(frame); // false when the ring is full: a lost ping, as on any network
  }
});

process.once('SIGINT', async () => {
  const { receive, transmit } = port.statistics();
  console.log(`${receive.frames} frames came, ${transmit.frames} were answered`);
  await port.close();
});
console.log('10.9.0.2 answers');
