// Boots a machine, says so, and leaves its end to whoever terminates this Worker.
import { parentPort, workerData } from 'node:worker_threads';

import { Machine } from '#lib/vmm/machine';
import type { MachineOptions } from '#lib/vmm/options';

async function main(): Promise<void> {
  const machine = await Machine.boot(workerData as MachineOptions);
  parentPort?.postMessage(machine.running);
}

void main();
