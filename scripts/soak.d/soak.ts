/** Full load both ways between two ports on one Ethernet, with an account of every frame. */
import { TestNetwork } from '../../test/support/network.js';
import { PatternFrames } from '../../test/support/pattern.js';
import { kernelMappings, processState, residentBytes } from '../../test/support/process-state.js';
import { openPort } from '#lib/port/port';
import type { Port } from '#lib/port/port';

const A = [2, 0, 0, 0, 0, 0xa];
const B = [2, 0, 0, 0, 0, 0xb];

/** What must not grow. */
export interface Footprint {
  readonly residentBytes: number;
  readonly descriptors: number;
  /** Of this package. */
  readonly pages: number;
  /** Of the whole process: those of the engine come and go. */
  readonly mappings: number;
}

/** One direction, from its beginning on. */
export interface Account {
  readonly sent: number;
  readonly received: number;
  /** By the host, because we did not take them fast enough: in the counters of its interface. */
  readonly dropped: number;
  readonly altered: number;
  readonly reordered: number;
}

/** Sends as fast as the ring takes it, and checks every frame that arrives. */
class Direction {
  #sent = 0;
  #received = 0;
  #altered = 0;
  #reordered = 0;
  #last = -1;
  #stopped = false;
  readonly #patterns: PatternFrames;
  readonly #checks: PatternFrames;

  constructor(
    readonly from: Port,
    readonly to: Port,
    destination: readonly number[],
    source: readonly number[],
  ) {
    this.#patterns = new PatternFrames(destination, source);
    this.#checks = new PatternFrames(destination, source);
    to.on('receive', (batch) => {
      for (const { bytes } of batch) if (PatternFrames.is(bytes)) this.#take(bytes);
    });
    from.on('drain', () => {
      this.pump();
    });
  }

  pump(): void {
    while (!this.#stopped && this.from.send(this.#patterns.make(this.#sent))) this.#sent++;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.from.drained();
  }

  /** The host's side of a tap that receives drops what is too much for its queue. */
  account(): Account {
    const { transmitDropped } = this.to.statistics().link.counters;
    const { receiveDropped } = this.from.statistics().link.counters;
    return {
      sent: this.#sent,
      received: this.#received,
      dropped: transmitDropped + receiveDropped,
      altered: this.#altered,
      reordered: this.#reordered,
    };
  }

  #take(bytes: Uint8Array): void {
    const sequence = this.#checks.check(bytes);
    if (sequence < 0) this.#altered++;
    else if (sequence <= this.#last) this.#reordered++;
    this.#last = Math.max(this.#last, sequence);
    this.#received++;
  }
}

/** Two ports that send to each other for as long as this is open. */
export class Soak {
  readonly #network = new TestNetwork();
  readonly #ports: Port[] = [];
  #directions: Direction[] = [];

  async start(): Promise<void> {
    for (const tap of ['a', 'b']) {
      this.#ports.push(await openPort({ backend: { tap, netns: this.#network.name } }));
    }
    this.#network.bridge('a', 'b');
    const [a, b] = this.#ports;
    if (!a || !b) throw new Error('no ports');
    this.#directions = [new Direction(a, b, B, A), new Direction(b, a, A, B)];
    for (const direction of this.#directions) direction.pump();
  }

  accounts(): Account[] {
    return this.#directions.map((direction) => direction.account());
  }

  footprint(): Footprint {
    const { descriptors, mappings } = processState();
    return {
      residentBytes: residentBytes(),
      descriptors,
      pages: mappings,
      mappings: kernelMappings(),
    };
  }

  /** Ends the load, and waits until every frame has come in or is counted, or until nothing comes any more. */
  async finish(): Promise<Account[]> {
    for (const direction of this.#directions) await direction.stop();
    const until = performance.now() + 10_000;
    while (unaccounted(this.accounts()) !== 0 && performance.now() < until) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    return this.accounts();
  }

  async close(): Promise<void> {
    for (const port of this.#ports) await port.close();
    this.#network.close();
  }
}

/** Frames of which nobody knows what became of them. */
export function unaccounted(accounts: readonly Account[]): number {
  return accounts.reduce((sum, { sent, received, dropped }) => sum + sent - received - dropped, 0);
}

/**
 * How much more is no growth: the engine's young generation, which doubles at some time, is 64 mappings of
 * 256 KiB. A byte lost with each frame is more than this after ten minutes.
 */
const RESIDENT_SLACK = 32 << 20;
const MAPPINGS_SLACK = 128;

/** What is wrong with how it ended. */
export function faults(accounts: readonly Account[], warm: Footprint, end: Footprint): string[] {
  const lost = accounts.some((account) => unaccounted([account]) !== 0);
  const spoilt = accounts.some(({ altered, reordered }) => altered + reordered > 0);
  const checks: readonly (readonly [bad: boolean, fault: string])[] = [
    [lost, 'frames were lost without a count'],
    [spoilt, 'frames were altered or reordered'],
    [accounts.some(({ received }) => received === 0), 'nothing came through'],
    [end.residentBytes > warm.residentBytes + RESIDENT_SLACK, 'resident memory grew'],
    [end.descriptors > warm.descriptors, 'descriptors grew'],
    [end.pages > warm.pages, "the package's mappings grew"],
    [end.mappings > warm.mappings + MAPPINGS_SLACK, 'mappings grew'],
  ];
  return checks.filter(([bad]) => bad).map(([, fault]) => fault);
}
