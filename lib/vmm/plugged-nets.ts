import type { CheckedNet } from './options.js';
import type { Backend } from '../backend/backend.js';
import { openBackend } from '../backend/open.js';
import { openOvsTap } from '../backend/ovs-tap.js';
import type { OvsPort } from '../backend/ovs.js';
import { UndoList } from '../undo.js';

/** A network device of a machine to be, with what stands behind it. */
export interface OpenNet extends CheckedNet {
  readonly backend: Backend;
}

/** How backends are opened. */
export interface Openers {
  readonly openBackend: typeof openBackend;
  readonly openOvsTap: typeof openOvsTap;
}

/**
 * What stands behind the network devices of a machine, from its options to its end: backends that were
 * given, those that are opened for it, and ports in bridges of Open vSwitch. All of them are let go of
 * here and nowhere else, whatever fails.
 */
export class PluggedNets {
  readonly #given: readonly CheckedNet[];
  readonly #openers: Openers;
  readonly #nets: OpenNet[] = [];
  readonly #ports: OvsPort[] = [];
  readonly #down = new UndoList();
  #kept = false;

  /** Takes over the backends that are open already. */
  constructor(given: readonly CheckedNet[], openers: Openers = { openBackend, openOvsTap }) {
    this.#given = given;
    this.#openers = openers;
    for (const { backend } of given) {
      if (!('queues' in backend)) continue;
      this.#down.push(() => {
        if (!backend.closed) backend.close();
      });
    }
  }

  /** Those that are open. */
  get nets(): readonly OpenNet[] {
    return this.#nets;
  }

  /** Whether there is nothing to be unplugged. */
  get none(): boolean {
    return this.#ports.length === 0;
  }

  /**
   * Opens what is not open yet, one after the other. One that is made has as many queues as the guest
   * may use; those that it does not use are detached.
   *
   * @param signal  Aborting ends the wait for Open vSwitch.
   * @throws What `openBackend` and {@link openOvsTap} throw; {@link takeBack} is for the caller to call.
   */
  async open(signal: AbortSignal | undefined): Promise<void> {
    for (const net of this.#given) this.#nets.push(await this.#open(net, signal));
  }

  /** The machine is: interfaces that were made for it, and are to stay, stay. */
  keep(): void {
    this.#kept = true;
  }

  /** Closes the backends. Each is tried, also when one fails. Only after the cards were closed. */
  close(): void {
    this.#down.unwind();
  }

  /**
   * Removes the ports from their bridges, once the taps are closed.
   *
   * @throws {OvsError} A database does not answer: the port stays in it, to be adopted.
   */
  async unplug(): Promise<void> {
    const results = await Promise.allSettled(this.#ports.map((port) => port.remove()));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** The machine is not to be: what goes wrong on the way back is the consequence of that. */
  async takeBack(): Promise<void> {
    try {
      this.close();
    } catch {
      // The ports go all the same.
    }
    await this.unplug().catch(() => undefined);
  }

  async #open(net: CheckedNet, signal: AbortSignal | undefined): Promise<OpenNet> {
    const { backend, queuePairs } = net;
    if ('queues' in backend) return { ...net, backend };
    if (!('ovs' in backend)) {
      return { ...net, backend: this.#own(this.#openers.openBackend(backend, queuePairs)) };
    }
    const { tap, port } = await this.#openers.openOvsTap(backend, queuePairs, signal);
    this.#ports.push(port);
    return { ...net, backend: this.#own(tap), completeOnly: port.completeOnly };
  }

  #own(backend: Backend): Backend {
    this.#down.push(() => {
      if (this.#kept || !backend.discard) backend.close();
      else backend.discard();
    });
    return backend;
  }
}
