// Joins two network namespaces: what one sends the other receives, whole TCP segments of up to 64 KiB
// and unfinished checksums included. Ctrl-C ends it.
//
//   sudo ip netns add left; sudo ip netns add right
//   sudo node examples/05-forward.mjs left right
//   sudo ip netns exec left ping 10.9.0.2
import { openPort } from 'vhost-net';

const [left, right] = process.argv.slice(2);
if (right === undefined) throw new Error('usage: 05-forward.mjs NAMESPACE NAMESPACE');

// With offloads a frame's header says what is still to be done to it; forward() passes that on.
const open = (netns, address) =>
  openPort({ backend: { tap: 'vn0', addresses: [address], netns }, offloads: 'auto' });

/** While `to` has no room, frames stay in the ring they came in: the sender waits, nothing is lost. */
function forward(from, to) {
  const waiting = [];
  from.on('receive', (batch) => {
    for (const frame of batch) {
      if (waiting.length === 0 && to.forward(frame)) continue;
      waiting.push(frame.hold()); // otherwise it would be the kernel's again when we return
      from.pause();
    }
  });
  to.on('drain', () => {
    while (waiting.length > 0 && to.forward(waiting[0])) waiting.shift().release();
    if (waiting.length === 0) from.resume();
  });
}

const a = await open(left, '10.9.0.1/24');
const b = await open(right, '10.9.0.2/24');
forward(a, b);
forward(b, a);

process.once('SIGINT', async () => {
  for (const [name, port] of [
    [left, a],
    [right, b],
  ]) {
    const { receive, transmit } = port.statistics();
    console.log(`${name}: ${receive.frames} frames out of it, ${transmit.frames} into it`);
    await port.close();
  }
});
console.log(`${left} and ${right} are joined`);
