import type { BackendName } from './forward-options.js';
import type { BackendLink } from '../index.js';

type Counted = Pick<BackendLink, 'counters' | 'queueDropped'>;

/** The counter of frames for us that nobody took in time: seen from the interface, each kind has another. */
const COUNTER: Readonly<Record<BackendName['kind'], (link: Counted) => number>> = {
  tap: ({ counters }) => counters.transmitDropped,
  macvtap: ({ counters }) => counters.receiveDropped,
  packet: ({ queueDropped = 0 }) => queueDropped,
};

/** Frames that the kernel had for a port, and that came faster than they were taken. */
export class MissedFrames {
  readonly #counter: (link: Counted) => number;
  #last: number | undefined;
  #total = 0;

  constructor(kind: BackendName['kind']) {
    this.#counter = COUNTER[kind];
  }

  /** How many since the first call, which is 0. An interface that was made again counts from 0. */
  count(link: Counted): number {
    const now = this.#counter(link);
    const before = this.#last ?? now;
    this.#total += now < before ? now : now - before;
    this.#last = now;
    return this.#total;
  }
}
