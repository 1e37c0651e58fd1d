import { checkOvsOptions } from './ovs-options.js';
import type { CheckedOvsOptions, OvsOptions } from './ovs-options.js';
import { runOvs } from './ovs-tools.js';
import type { RunOvs } from './ovs-tools.js';
import { OvsVsctl } from './ovs-vsctl.js';
import type { FoundPort, OvsPortState } from './ovs-vsctl.js';

/**
 * A network interface as a port of an Open vSwitch bridge, added with `ovs-vsctl` as a plain system port:
 * that is what a tap needs whose frames another process reads.
 */
export class OvsPort {
  /** The interface's name, which is the port's. */
  readonly name: string;
  /** What the daemon answered when the port was added. */
  readonly state: OvsPortState;

  readonly #tools: OvsVsctl;
  readonly #guarded: boolean;
  #removed: Promise<void> | undefined;

  /**
   * Makes an existing interface a port of a bridge, and waits for the daemon's answer. A port of this
   * name that is there already, such as that of a process that was killed, is adopted and made what was
   * asked for; from another bridge only what this package had added there. When a step fails,
   * the port and its rules are taken back; one that somebody else had added stays, as far as it was
   * changed already.
   *
   * @param name  The interface. It should have the MTU of the options already.
   * @param linkUp  Whether to wait until the daemon sees a carrier. Default: true.
   * @throws {OvsError} What is missing, or what the daemon said.
   * @throws {TypeError} or `RangeError`, naming the option that does not fit.
   */
  static add(name: string, options: OvsOptions, linkUp = true): Promise<OvsPort> {
    return addOvsPort(name, checkOvsOptions(options), linkUp);
  }

  /** @internal See {@link add}. */
  constructor(name: string, tools: OvsVsctl, state: OvsPortState, guarded: boolean) {
    this.name = name;
    this.state = state;
    this.#tools = tools;
    this.#guarded = guarded;
  }

  /**
   * Whether frames must be complete: the daemon itself reads them, from a packet socket, which tells it
   * nothing of a checksum that is still to be filled in, nor of a segment longer than the MTU.
   */
  get completeOnly(): boolean {
    return this.state.datapathType !== 'system';
  }

  /**
   * Removes the port and its rules from the bridge; the interface stays. Also once it is gone. May be
   * called twice.
   *
   * @throws {OvsError} The database does not answer: the port stays in it, to be adopted.
   */
  remove(): Promise<void> {
    return (this.#removed ??= this.#remove());
  }

  #remove(): Promise<void> {
    return together([this.#tools.remove(), ...(this.#guarded ? [this.#tools.unguard()] : [])]);
  }
}

/** All at once: what began goes on when this process ends meanwhile. */
async function together(steps: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(steps);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** @internal See {@link OvsPort.add}; the options are checked, the programs may be others, and aborting ends it. */
export async function addOvsPort(
  name: string,
  options: CheckedOvsOptions,
  linkUp: boolean,
  run: RunOvs = runOvs,
  signal?: AbortSignal,
): Promise<OvsPort> {
  const tools = new OvsVsctl(name, options, run);
  // What takes things back goes on when the signal has come.
  const adding = new OvsVsctl(name, options, (command) => run({ ...command, signal }));
  const found = await adding.find();
  try {
    const state = await addFound(adding, found, linkUp);
    return new OvsPort(name, tools, state, options.antiSpoof !== undefined);
  } catch (error) {
    // The first error is the cause; one of the way back is its consequence.
    await takeBack(tools, found, options).catch(() => undefined);
    throw error;
  }
}

async function addFound(tools: OvsVsctl, found: FoundPort, linkUp: boolean): Promise<OvsPortState> {
  await tools.add(found);
  const state = await tools.verify(linkUp);
  await tools.guard(state.ofport, found);
  return state;
}

function takeBack(tools: OvsVsctl, found: FoundPort, options: CheckedOvsOptions): Promise<void> {
  const ours = found.where === 'nowhere' || found.marked;
  const guarded = options.antiSpoof !== undefined || found.guardedOn !== undefined;
  return together([ours ? tools.remove() : tools.unmark(), ...(guarded ? [tools.unguard()] : [])]);
}
