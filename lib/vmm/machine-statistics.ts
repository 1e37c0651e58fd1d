import type { NetworkCardStatistics } from './network-card.js';
import type { PciBus, PciBusStatistics } from './pci-bus.js';
import type { PowerCycle } from './power-cycle.js';
import type { LoopStatistics } from '../sys/loop-budget.js';

/** What was counted of a machine. */
export interface MachineStatistics {
  /** How often it was switched on: 1 and a reboot for each more. */
  readonly cycles: number;
  /** How often vCPUs left the kernel, by reason, over all cycles. */
  readonly exits: Readonly<Record<string, number>>;
  /** How often JavaScript was asked by a vCPU. */
  readonly calls: number;
  /** What of the event loop they, and reboots, took. */
  readonly loop: LoopStatistics;
  /** Bytes of the console that its output did not take in time, and that nobody gets any more. */
  readonly consoleLost: number;
  /** Faults of cards, events and messages, that were not told: more than ten came in a second. */
  readonly untold: number;
  readonly pci: PciBusStatistics;
  /** In the order of the option `net`. */
  readonly net: readonly NetworkCardStatistics[];
  /**
   * The kernel's own counters, summed over the vCPUs that run now, or ran last; empty where it has none.
   */
  readonly kvm: Readonly<Record<string, number>>;
}

function addTo(sums: Record<string, number>, more: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(more)) sums[name] = (sums[name] ?? 0) + value;
}

function sum(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const one of all) addTo(sums, one);
  return sums;
}

/** What counts of a power cycle. */
type CountingCycle = Pick<PowerCycle, 'statistics' | 'kernelStatistics'>;

/** What is counted elsewhere. */
type Elsewhere = Pick<MachineStatistics, 'loop' | 'consoleLost' | 'untold'>;

/** What is left of power cycles that are over, and what those say that are not. */
export class Counters {
  cycles = 0;
  readonly #exits: Record<string, number> = {};
  #calls = 0;
  #net: readonly NetworkCardStatistics[] = [];
  #kvm: Readonly<Record<string, number>> = {};

  /** Keeps what a cycle counted that is over; before it is closed. */
  add(cycle: CountingCycle): void {
    this.#kvm = sum(cycle.kernelStatistics());
    for (const { exits, calls } of cycle.statistics()) {
      addTo(this.#exits, exits);
      this.#calls += calls;
    }
  }

  /** Keeps the last that cards said before they went. */
  keep(net: readonly NetworkCardStatistics[]): void {
    this.#net = net;
  }

  read(
    cycle: CountingCycle | undefined,
    elsewhere: Elsewhere,
    bus: PciBus,
    net: readonly NetworkCardStatistics[],
  ): MachineStatistics {
    const exits = { ...this.#exits };
    let calls = this.#calls;
    for (const one of cycle?.statistics() ?? []) {
      addTo(exits, one.exits);
      calls += one.calls;
    }
    const kvm = cycle ? sum(cycle.kernelStatistics()) : this.#kvm;
    const cards = net.length > 0 ? net : this.#net;
    const pci = bus.statistics();
    return { cycles: this.cycles, exits, calls, ...elsewhere, pci, net: cards, kvm };
  }
}
