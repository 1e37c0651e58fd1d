import type { GuestFault } from './guest-repair.js';
import { NetworkCard } from './network-card.js';
import type { NetworkCardPlace, NetworkCardStatistics } from './network-card.js';
import type { PciBus } from './pci-bus.js';
import type { OpenNet } from './plugged-nets.js';
import { misuse } from '../errors.js';
import { vhostParameters } from '../sys/module-parameters.js';
import type { WorkerThread } from '../sys/worker-thread.js';
import type { UndoList } from '../undo.js';

/** Where the cards of a machine are. */
export interface NetworkCardsPlace extends Omit<NetworkCardPlace, 'onFault'> {
  readonly bus: PciBus;
  /** @param card  The interface's name. */
  readonly onFault: (fault: GuestFault, card: string) => void;
}

/** The network cards of a machine, in the order of its option `net`. */
export class NetworkCards {
  readonly #cards: readonly NetworkCard[];

  /** Opens them, and puts each in the next slot of the bus. Undoing closes them. */
  static open(
    nets: readonly OpenNet[],
    { bus, ...place }: NetworkCardsPlace,
    undo: UndoList,
  ): NetworkCards {
    if (nets.length > 0) checkPieces(place.memory.regions.length);
    const cards = nets.map((net) => {
      const onFault = (fault: GuestFault) => {
        place.onFault(fault, card.name);
      };
      const card: NetworkCard = NetworkCard.open(net, { ...place, onFault });
      undo.push(() => {
        card.close();
      });
      bus.add(card.pci);
      return card;
    });
    return new NetworkCards(cards);
  }

  constructor(cards: readonly NetworkCard[]) {
    this.#cards = cards;
  }

  /** The interfaces' names. */
  get names(): readonly string[] {
    return this.#cards.map(({ name }) => name);
  }

  /** The kernel threads that move their frames; undefined where it can't be known which it is. */
  get workers(): readonly (WorkerThread | undefined)[] {
    return this.#cards.flatMap(({ workers }) => [...workers]);
  }

  /** @throws {RangeError} There is none in that place. */
  at(index: number): NetworkCard {
    const card = Number.isInteger(index) ? this.#cards[index] : undefined;
    if (!card) throw misuse.range('card', `an integer below ${String(this.#cards.length)}`, index);
    return card;
  }

  statistics(): NetworkCardStatistics[] {
    return this.#cards.map((card) => card.statistics());
  }
}

/** Each piece of RAM is a row of a table of the worker's. @throws {RangeError} It has fewer. */
function checkPieces(pieces: number): void {
  const { maxMemRegions = pieces } = vhostParameters();
  if (pieces <= maxMemRegions) return;
  const expected = `memory in at most ${String(maxMemRegions)} pieces of 4 GiB, with network cards (vhost's max_mem_regions)`;
  throw misuse.range('memoryMiB', expected, `${String(pieces)} pieces`);
}
