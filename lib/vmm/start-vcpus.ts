import type { Vcpu, VcpuBus, VcpuEnd } from '../sys/vcpu.js';

/** What of a vCPU its start and its end take. */
export type StartableVcpu = Pick<Vcpu, 'start' | 'stop'>;

/** How vCPUs began. */
export interface VcpusStart {
  /** Settles when one of them has ended, and all others as well. */
  readonly ended: Promise<VcpuEnd>;
  /** What kept one from running while others ran already; these are stopped then. */
  readonly refused: Error | undefined;
}

/**
 * Lets vCPUs run, the first one last: the others wait to be started by it, so that no instruction of the
 * guest is executed before all have a thread.
 *
 * @throws {VhostSystemError} `EAGAIN`: there is no thread for the first that was tried; nothing runs.
 */
export function startVcpus(vcpus: readonly StartableVcpu[], bus: VcpuBus): VcpusStart {
  const ends: Promise<VcpuEnd>[] = [];
  let refused: Error | undefined;
  for (const vcpu of [...vcpus].reverse()) {
    try {
      ends.push(vcpu.start(bus));
    } catch (error) {
      if (ends.length === 0) throw error;
      refused = error as Error;
      break;
    }
  }
  const first = refused
    ? Promise.resolve<VcpuEnd>({ reason: 'failed', detail: refused.message })
    : Promise.race(ends);
  const ended = first.then(async (end) => {
    for (const vcpu of vcpus) void vcpu.stop();
    await Promise.all(ends);
    return end;
  });
  return { ended, refused };
}
