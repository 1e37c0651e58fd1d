/**
 * Opens and closes a port again and again, and prints what the process had after a tenth of the cycles,
 * but fifty at the least, and at the end. A process of its own, without a test runner's heap. Arguments: tap, netns, cycles.
 */
import { kernelMappings, processState, residentBytes } from './process-state.js';
import { openPort } from '#lib/port/port';

const [tap = '', netns = '', count = ''] = process.argv.slice(2);
const cycles = Number(count);
const warm = Math.max(50, Math.ceil(cycles / 10));

function look() {
  return { state: processState(), mappings: kernelMappings(), resident: residentBytes() };
}

async function main(): Promise<void> {
  let early = look();
  for (let cycle = 1; cycle <= cycles; cycle++) {
    const port = await openPort({ backend: { tap, netns }, queueSize: 64 });
    port.send(new Uint8Array(60));
    await port.close();
    // libuv frees a handle in the turn of the loop after its close.
    await new Promise((resolve) => setImmediate(resolve));
    if (cycle === warm) early = look();
  }
  console.log(JSON.stringify({ early, late: look() }));
}

void main();
