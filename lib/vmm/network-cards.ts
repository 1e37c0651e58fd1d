import type { GuestFault } from './guest-repair.js';
import { NetworkCard } from './network-card.js';
import type { NetworkCardPlace, NetworkCardStatistics } from './network-card.js';
import type { PciBus } from './pci-bus.js';
import type { OpenNet } from './plugged-nets.js';
import { misuse } from '../errors.js';
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

  get count(): number {
    return this.#cards.length;
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
    if (!card) throw misuse.range('card', `an integer below ${String(this.count)}`, index);
    return card;
  }

  statistics(): NetworkCardStatistics[] {
    return this.#cards.map((card) => card.statistics());
  }
}
