import { isGuestKind } from './guest-sides.js';
import type { GuestKind } from './guest-sides.js';
import { guestTraffic } from './guest-traffic.js';
import { Network } from './network.js';
import { Program } from './program.js';
import { observe } from './run-side.js';
import type { Run } from './run-side.js';
import type { Kind, Side } from './sides.js';
import type { Pace } from './traffic.js';

/** What is measured of a guest that has booted, again and again. */
export type TurnKind = Exclude<GuestKind, 'guest-boot' | 'guest-memory'>;

/** How often each guest has its turn in a round; all of them boot once for that. */
export const TURNS = 4;

export function takesTurns(kind: Kind | GuestKind): kind is TurnKind {
  return isGuestKind(kind) && kind !== 'guest-boot' && kind !== 'guest-memory';
}

/**
 * A guest on a tap of its own that stands still, all of its program with it, but for its turns: guests whose
 * turns follow each other within seconds have the same share of a machine that is not always as quick.
 */
class KeptGuest {
  readonly #network: Network;
  readonly #program: Program;

  private constructor(network: Network, program: Program) {
    this.#network = network;
    this.#program = program;
  }

  /** Boots it, and lets it stand. */
  static async boot(side: Side, kind: TurnKind, tap: string): Promise<KeptGuest> {
    const command = side.guest?.(kind, tap) ?? { cannot: 'it has no guests' };
    if ('cannot' in command) throw new Error(command.cannot);
    const network = new Network(tap);
    let program: Program | undefined;
    try {
      network.addTaps(1, tap);
      program = new Program(command);
      await program.untilReady(side.ready);
      program.pause();
      return new KeptGuest(network, program);
    } catch (error) {
      await program?.end();
      network.remove();
      throw error;
    }
  }

  /** Goes on for as long as it takes to look at it once. */
  async turn(kind: TurnKind, pace: Pace): Promise<Run> {
    this.#program.resume();
    this.#network.addressNear();
    try {
      const cpu = this.#program.placed();
      return await observe(guestTraffic(kind, pace, this.#program.pid), cpu);
    } finally {
      this.#program.pause();
      this.#network.unaddressNear();
    }
  }

  async end(): Promise<void> {
    try {
      await this.#program.end();
    } finally {
      this.#network.remove();
    }
  }
}

/** Who has turns. */
export interface Contender {
  readonly side: Side;
  /** Called with what each turn came to. */
  done(run: Run): void;
  /** It does not boot, or does not go on: it has no more turns. */
  failed(error: unknown): void;
}

type Guests = Map<Contender, KeptGuest>;

/** Boots a guest for each, on the tap of its place in the round. */
async function bootAll(contenders: readonly Contender[], kind: TurnKind): Promise<Guests> {
  const guests: Guests = new Map();
  for (const [i, contender] of contenders.entries()) {
    try {
      guests.set(contender, await KeptGuest.boot(contender.side, kind, `bench${String(i)}`));
    } catch (error) {
      contender.failed(error);
    }
  }
  return guests;
}

/** One turn of each that goes on. */
async function takeTurns(guests: Guests, order: readonly Contender[], kind: TurnKind, pace: Pace) {
  for (const contender of order) {
    const guest = guests.get(contender);
    if (!guest) continue;
    try {
      contender.done(await guest.turn(kind, pace));
    } catch (error) {
      contender.failed(error);
      guests.delete(contender);
      await guest.end();
    }
  }
}

/** A round: a guest for each, {@link TURNS} turns, each time beginning with another. */
export async function runTurns(
  contenders: readonly Contender[],
  kind: TurnKind,
  pace: Pace,
): Promise<void> {
  const guests = await bootAll(contenders, kind);
  try {
    for (let turn = 0; turn < TURNS; turn++) {
      const first = turn % contenders.length;
      const order = [...contenders.slice(first), ...contenders.slice(0, first)];
      await takeTurns(guests, order, kind, pace);
    }
  } finally {
    // Each is tried: one that stands still would stay so for ever.
    await Promise.allSettled([...guests.values()].map((guest) => guest.end()));
  }
}
