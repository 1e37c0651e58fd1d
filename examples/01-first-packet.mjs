// Asks the kernel, by ARP, who has 10.9.0.1, and prints what it answers.
//
//   sudo node examples/01-first-packet.mjs
import { openPort } from 'vhost-net';

const OURS = '020000000002'; // an Ethernet address that nobody was given
const EVERYBODY = 'ffffffffffff';

// The kernel's side of the tap becomes an interface with an address; the other side is the port.
const port = await openPort({ backend: { tap: 'vn0', addresses: ['10.9.0.1/24'] } });
const { worker } = port.statistics();
console.log(
  `the kernel's worker is ${worker?.name ?? 'not visible'}, tid ${worker?.tid ?? 'unknown'}`,
);

const ethernet = EVERYBODY + OURS + '0806';
const request = '0001' + '0800' + '06' + '04' + '0001'; // RFC 826: who has ...
const addresses = OURS + '0a090002' + '000000000000' + '0a090001'; // 10.9.0.2 asks for 10.9.0.1
port.send(Buffer.from(ethernet + request + addresses, 'hex'));

for await (const { bytes } of port) {
  const frame = Buffer.from(bytes);
  const isArpReply = frame.readUInt16BE(12) === 0x0806 && frame.readUInt16BE(20) === 2;
  if (!isArpReply) continue; // the kernel has more to say on a new interface
  console.log(`10.9.0.1 is at ${frame.toString('hex', 22, 28).replace(/..\B/g, '$&:')}`);
  break;
}
await port.close(); // the worker and the tap are gone now
