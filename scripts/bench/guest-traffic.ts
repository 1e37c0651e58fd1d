import { memoryBeyond } from './guest-memory.js';
import { MEMORY_MIB } from './guest-sides.js';
import type { GuestKind } from './guest-sides.js';
import { KvmExitCounters } from './kvm-exits.js';
import { Pings, TCP_SEGMENT, connect } from './traffic.js';
import type { Flow, Pace, Traffic } from './traffic.js';

const WARM_UP_PINGS = 200;
const PINGS = 1000;

/** One TCP connection between the host and the server that the guest runs. */
class GuestTcp implements Traffic {
  constructor(
    private readonly pace: Pace,
    private readonly options: readonly string[],
  ) {}

  async begin(): Promise<void> {
    await connect(this.pace.warmUpMs, ...this.options);
  }

  async observe(): Promise<Flow> {
    const { bytes, seconds } = await connect(this.pace.measureMs, ...this.options);
    return { rate: (bytes * 8) / seconds / 1e6, frames: bytes / TCP_SEGMENT };
  }

  end(): Promise<void> {
    return Promise.resolve();
  }
}

const THOUSAND = 1000;

/** How often the guest is left while pings come and go. */
class GuestExits extends Pings {
  readonly #counters = new KvmExitCounters();

  override async observe(): Promise<Flow> {
    const before = this.#counters.read();
    const { frames } = await super.observe();
    const after = this.#counters.read();
    const each = (name: 'kernel' | 'user') => ((after[name] - before[name]) / frames) * THOUSAND;
    return { rate: each('kernel'), frames, exitsToUser: each('user') };
  }

  override end(): Promise<void> {
    this.#counters.close();
    return Promise.resolve();
  }
}

/** What is in memory once pings have come and gone. */
class GuestMemory extends Pings {
  readonly #pid: number;

  constructor(pid: number) {
    super(WARM_UP_PINGS, PINGS);
    this.#pid = pid;
  }

  override async observe(): Promise<Flow> {
    return { ...(await super.observe()), rate: memoryBeyond(this.#pid, MEMORY_MIB) };
  }
}

/** What flows to or from a guest of this program; nothing while its boot is looked at. */
export function guestTraffic(
  kind: Exclude<GuestKind, 'guest-boot'>,
  pace: Pace,
  pid: number,
): Traffic {
  switch (kind) {
    case 'guest-tcp-out':
      return new GuestTcp(pace, ['-R']);
    case 'guest-tcp-in':
      return new GuestTcp(pace, []);
    case 'guest-echo':
      return new Pings(WARM_UP_PINGS, PINGS);
    case 'guest-exits':
      return new GuestExits(WARM_UP_PINGS, PINGS);
    case 'guest-memory':
      return new GuestMemory(pid);
  }
}
