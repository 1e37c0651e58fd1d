import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';

const FOLDER = '/proc/net/pktgen';

/** The thread that generates is bound to this CPU: the worker's, as nothing else is left of two. */
const THREAD = `${FOLDER}/kpktgend_0`;

/** One command a write, with the end of its line: without it the kernel reads on behind the text. */
function write(file: string, ...lines: string[]): void {
  for (const line of lines) fs.writeFileSync(file, `${line}\n`);
}

/**
 * The kernel's packet generator, sending on one interface until it is stopped.
 *
 * @param offered  Frames each second; undefined: as many as it can.
 */
export async function generate(
  name: string,
  length: number,
  offered: number | undefined,
): Promise<() => Promise<void>> {
  write(THREAD, 'rem_device_all', `add_device ${name}`);
  write(`${FOLDER}/${name}`, 'count 0', 'clone_skb 0', `pkt_size ${String(length)}`, 'delay 0');
  write(`${FOLDER}/${name}`, 'dst 198.18.0.2', 'dst_mac 02:00:00:00:00:00');
  if (offered !== undefined) write(`${FOLDER}/${name}`, `ratep ${String(offered)}`);
  // The write returns when everything is sent or stopped.
  const starter = spawn('sh', ['-c', `echo start > ${FOLDER}/pgctrl`], { stdio: 'ignore' });
  const stopped = once(starter, 'close');
  await once(starter, 'spawn');
  return async () => {
    write(`${FOLDER}/pgctrl`, 'stop');
    await stopped;
    write(THREAD, 'rem_device_all');
  };
}
