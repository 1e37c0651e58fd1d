import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { frames } from './counters.js';
import { FAR, FAR_ADDRESS, LINK, NEAR, output } from './network.js';
import type { Network } from './network.js';
import { generate } from './packet-generator.js';
import type { Scenario } from './scenarios.js';
import type { Kind } from './sides.js';

/** How long it is waited until compilers and queues have settled, and how long it is looked. */
export interface Pace {
  readonly warmUpMs: number;
  readonly measureMs: number;
}

const SECOND = 1e9;

/** What went through while it was looked at. */
export interface Flow {
  /** In the scenario's unit. */
  readonly rate: number;
  /** Frames that it took, for costs per frame. */
  readonly frames: number;
  /** How often a guest's CPU came to user space, for each thousand frames; where there is a guest. */
  readonly exitsToUser?: number;
}

/** Something that lets traffic flow, and looks at it for a while. */
export interface Traffic {
  /** Begins; resolves when things have settled. */
  begin(): Promise<void>;
  observe(): Promise<Flow>;
  end(): Promise<void>;
}

/** Frames counted at an interface, from wherever they come. */
class Counted implements Traffic {
  constructor(
    private readonly pace: Pace,
    private readonly count: () => number,
    private readonly source: () => Promise<() => Promise<void>>,
  ) {}

  #stop: () => Promise<void> = () => Promise.resolve();

  async begin(): Promise<void> {
    this.#stop = await this.source();
    await sleep(this.pace.warmUpMs);
  }

  async observe(): Promise<Flow> {
    const before = this.count();
    const start = process.hrtime.bigint();
    await sleep(this.pace.measureMs);
    const counted = this.count() - before;
    const seconds = Number(process.hrtime.bigint() - start) / SECOND;
    return { rate: counted / seconds, frames: counted };
  }

  end(): Promise<void> {
    return this.#stop();
  }
}

/** Payload of a full TCP segment with timestamps: bytes are told in frames of this size. */
export const TCP_SEGMENT = 1448;

/** What came through one TCP connection to the far end's server; options are `iperf3`'s. */
export async function connect(
  ms: number,
  ...options: string[]
): Promise<{ bytes: number; seconds: number }> {
  // It takes whole seconds; what it makes of others is no end.
  const seconds = String(Math.ceil(ms / 1000));
  const report = await output('iperf3', '-c', FAR_ADDRESS, '-J', '-t', seconds, ...options);
  const { end } = JSON.parse(report) as {
    end: { sum_received: { bytes: number; seconds: number } };
  };
  return end.sum_received;
}

/** One TCP connection from the near end to the far one. */
class Tcp implements Traffic {
  constructor(
    private readonly pace: Pace,
    private readonly network: Network,
  ) {}

  #end: () => Promise<void> = () => Promise.resolve();

  async begin(): Promise<void> {
    const [program = '', ...args] = this.network.farCommand('iperf3', '-s', '--forceflush');
    const server = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#end = async () => {
      const closed = once(server, 'close');
      server.kill();
      await closed;
    };
    await once(server.stdout, 'data'); // it says that it listens
    await connect(this.pace.warmUpMs);
  }

  async observe(): Promise<Flow> {
    const { bytes, seconds } = await connect(this.pace.measureMs);
    return { rate: (bytes * 8) / seconds / 1e6, frames: bytes / TCP_SEGMENT };
  }

  end(): Promise<void> {
    return this.#end();
  }
}

const PINGS = 3000;

/** So many ICMP echoes to the far end, one on its way at a time; the average, in milliseconds. */
async function ping(count: number): Promise<number> {
  const text = await output('ping', '-A', '-q', '-c', String(count), FAR_ADDRESS);
  const found = /(\d+) received.*= [\d.]+\/([\d.]+)\//s.exec(text);
  if (Number(found?.[1]) !== count) throw new Error(`lost pings: ${text.trim()}`);
  return Number(found?.[2]);
}

/** Echoes, each when the one before has come back: first to warm up, then those that count. */
export class Pings implements Traffic {
  readonly #warmUp: number;
  readonly #count: number;

  constructor(warmUp: number, count: number) {
    this.#warmUp = warmUp;
    this.#count = count;
  }

  async begin(): Promise<void> {
    await ping(this.#warmUp);
  }

  async observe(): Promise<Flow> {
    return { rate: 1000 / (await ping(this.#count)), frames: this.#count };
  }

  end(): Promise<void> {
    return Promise.resolve();
  }
}

/** What flows in a scenario. */
export function trafficFor(
  kind: Kind,
  { length, offered, zeroCopy }: Scenario,
  network: Network,
  pace: Pace,
): Traffic {
  const itself = () => Promise.resolve(() => Promise.resolve());
  const generated = () => generate(NEAR, length, offered);
  switch (kind) {
    case 'tx':
    case 'gso':
      if (zeroCopy) return new Counted(pace, () => frames(LINK, 'transmitted'), itself);
      return new Counted(pace, () => frames(NEAR, 'received'), itself);
    case 'rx':
      return new Counted(pace, () => frames(NEAR, 'transmitted'), generated);
    case 'forward':
      return new Counted(pace, () => frames(FAR, 'received'), generated);
    case 'tcp':
      return new Tcp(pace, network);
    case 'echo':
      return new Pings(pace.warmUpMs, PINGS); // not by time: ping ends after a number
  }
}
