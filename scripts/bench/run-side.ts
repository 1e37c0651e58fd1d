import { isGuestKind } from './guest-sides.js';
import type { GuestKind } from './guest-sides.js';
import { guestTraffic } from './guest-traffic.js';
import { FAR, NEAR, Network } from './network.js';
import { Program } from './program.js';
import type { CpuTime } from './program.js';
import type { Scenario } from './scenarios.js';
import type { Kind, Side } from './sides.js';
import { trafficFor } from './traffic.js';
import type { Pace, Traffic } from './traffic.js';

/** What one run of a side came to. */
export interface Run {
  /** In the scenario's unit. */
  readonly rate: number;
  readonly appNsPerFrame: number;
  readonly workerNsPerFrame: number;
  readonly exitsToUser?: number;
}

/** Lets traffic flow, and sees what it comes to. */
export async function observe(traffic: Traffic, cpu: () => CpuTime): Promise<Run> {
  try {
    await traffic.begin();
    const before = cpu();
    const { rate, frames, exitsToUser } = await traffic.observe();
    const after = cpu();
    if (frames === 0) throw new Error('it is at work, but nothing went through');
    return {
      rate,
      appNsPerFrame: (after.app - before.app) / frames,
      workerNsPerFrame: (after.worker - before.worker) / frames,
      ...(exitsToUser !== undefined && { exitsToUser }),
    };
  } finally {
    await traffic.end();
  }
}

function tapsFor(kind: Kind | GuestKind): string[] {
  return kind === 'forward' || kind === 'tcp' ? [NEAR, FAR] : [NEAR];
}

function address(network: Network, kind: Kind | GuestKind, byProgram: boolean): void {
  if (kind === 'tcp' || (kind === 'echo' && !byProgram)) network.addressBoth();
  else if (kind === 'echo' || isGuestKind(kind)) network.addressNear();
}

interface Setting {
  readonly scenario: Scenario;
  readonly network: Network;
  readonly pace: Pace;
}

function flow({ scenario, network, pace }: Setting, pid = 0): Traffic {
  const { kind } = scenario;
  if (kind === 'guest-boot') throw new Error('nothing flows to a guest that boots');
  return isGuestKind(kind)
    ? guestTraffic(kind, pace, pid)
    : trafficFor(kind, scenario, network, pace);
}

/** A boot is one run, and its CPU time that of all that went before. */
function booted(ms: number, { app, worker }: CpuTime): Run {
  return { rate: ms, appNsPerFrame: app, workerNsPerFrame: worker };
}

async function throughProgram(
  side: Side,
  command: readonly string[],
  { scenario, network, pace }: Setting,
): Promise<Run> {
  if (scenario.zeroCopy) network.addMacvtap(NEAR);
  else network.addTaps(scenario.queues ?? 1, ...tapsFor(scenario.kind));
  const start = performance.now();
  const program = new Program(command);
  try {
    await program.untilReady(side.ready);
    const readyAfter = performance.now() - start;
    const cpu = program.placed();
    if (scenario.kind === 'guest-boot') return booted(readyAfter, cpu());
    address(network, scenario.kind, true);
    return await observe(flow({ scenario, network, pace }, program.pid), cpu);
  } finally {
    await program.end();
  }
}

async function throughKernel({ scenario, network, pace }: Setting): Promise<Run> {
  network.addBridge();
  address(network, scenario.kind, false);
  const setting = { scenario, network, pace };
  return await observe(flow(setting), () => ({ app: 0, worker: 0 }));
}

/** Runs a side once, on interfaces of its own. */
export async function runSide(side: Side, scenario: Scenario, pace: Pace): Promise<Run> {
  const { kind, length, queues = 1, zeroCopy } = scenario;
  const taps = zeroCopy ? [`macvtap:${NEAR}`] : tapsFor(kind);
  const command = isGuestKind(kind)
    ? (side.guest?.(kind, NEAR) ?? { cannot: 'it has no guests' })
    : side.command({ kind, length, taps, queues });
  if (command && 'cannot' in command) throw new Error(command.cannot);
  const network = new Network();
  try {
    const setting = { scenario, network, pace };
    if (!command) return await throughKernel(setting);
    return await throughProgram(side, command, setting);
  } finally {
    network.remove();
  }
}
