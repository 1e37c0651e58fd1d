import type { CheckedNet } from './options.js';
import { openOvsTap } from '../backend/ovs-tap.js';
import type { OvsTap } from '../backend/ovs-tap.js';

/** The network devices of a machine to be, those that belong into a bridge of Open vSwitch plugged in. */
export class PluggedNets {
  /** With open taps where there were options of one in a bridge. */
  readonly nets: readonly CheckedNet[];
  readonly #taps: readonly OvsTap[];

  /**
   * Opens the taps that belong into a bridge, one after the other; all or nothing.
   *
   * @throws What `Tap.open` and {@link OvsPort.add} throw.
   */
  static async open(nets: readonly CheckedNet[]): Promise<PluggedNets> {
    const taps: OvsTap[] = [];
    const plugged: CheckedNet[] = [];
    try {
      for (const net of nets) {
        const { backend, queuePairs } = net;
        if ('queues' in backend || !('ovs' in backend)) {
          plugged.push(net);
          continue;
        }
        const one = await openOvsTap(backend, queuePairs);
        taps.push(one);
        plugged.push({ ...net, backend: one.tap, completeOnly: one.port.completeOnly });
      }
      return new PluggedNets(plugged, taps);
    } catch (error) {
      await new PluggedNets(plugged, taps).takeBack();
      throw error;
    }
  }

  private constructor(nets: readonly CheckedNet[], taps: readonly OvsTap[]) {
    this.nets = nets;
    this.#taps = taps;
  }

  /** Whether there is nothing to be unplugged. */
  get none(): boolean {
    return this.#taps.length === 0;
  }

  /**
   * Removes the ports from their bridges, once the taps are closed.
   *
   * @throws {OvsError} A database does not answer: the port stays in it, to be adopted.
   */
  async unplug(): Promise<void> {
    const results = await Promise.allSettled(this.#taps.map(({ port }) => port.remove()));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** The machine is not to be: what went wrong on the way back is its consequence. */
  async takeBack(): Promise<void> {
    for (const { tap } of this.#taps) tap.close();
    await this.unplug().catch(() => undefined);
  }
}
