import type { Backend, ReceiveFilter } from '../backend/backend.js';

/** A driver's list of addresses that it receives besides its own, 6 bytes each. */
export interface MacTable {
  readonly unicast: readonly Uint8Array[];
  readonly multicast: readonly Uint8Array[];
  /** Whether it is longer than anybody would tell apart: everything comes then. */
  readonly overflow: boolean;
}

const BROADCAST = new Uint8Array(6).fill(0xff);
const EMPTY: MacTable = { unicast: [], multicast: [], overflow: false };

/** A table of which not all was read. */
export const OVERFLOW: MacTable = { ...EMPTY, overflow: true };

/**
 * `struct virtio_net_ctrl_mac` twice: hosts, then groups. Virtio 1.2 §5.1.6.5.2 "Setting MAC Address
 * Filtering".
 *
 * @returns Undefined: it is shorter than it says.
 */
export function readMacTable(data: DataView): MacTable | undefined {
  const unicast = readList(data, 0);
  const multicast = unicast && readList(data, 4 + 6 * unicast.length);
  return multicast && { unicast, multicast, overflow: false };
}

function readList(data: DataView, offset: number): Uint8Array[] | undefined {
  const first = offset + 4;
  if (first > data.byteLength) return undefined;
  const count = data.getUint32(offset, true);
  if (first + 6 * count > data.byteLength) return undefined;
  const at = (index: number) => data.byteOffset + first + 6 * index;
  return Array.from(
    { length: count },
    (_, i) => new Uint8Array(data.buffer.slice(at(i), at(i + 1))),
  );
}

/**
 * Which frames a guest's driver wants, as far as the backend can tell them apart. It is everything until
 * a driver says otherwise, and again after a reset. What comes is never less than what was asked for; its
 * own address and the broadcast are always part of that.
 *
 * Spec: Virtio 1.2 §5.1.6.5.1 "Packet Receive Filtering", §5.1.6.5.2.
 */
export class GuestFilter {
  /** Whether the backend can keep frames away. */
  readonly possible: boolean;

  readonly #backend: Pick<Backend, 'setReceiveFilter' | 'lost'>;
  #own: Uint8Array | undefined;
  /** The address that the driver was told last, where it may not have seen yet that it has another. */
  #told: Uint8Array | undefined;
  #promiscuous = true;
  #allMulticast = false;
  #table = EMPTY;
  #keepsAway = false;

  constructor(backend: Pick<Backend, 'setReceiveFilter' | 'lost'>) {
    this.#backend = backend;
    this.possible = backend.setReceiveFilter !== undefined;
  }

  /** Whether frames for others are kept away: the driver wants it, and the backend can tell them apart. */
  get active(): boolean {
    return this.#keepsAway;
  }

  /** Whether every frame comes. @throws {VhostSystemError} Of the backend. */
  setPromiscuous(on: boolean): void {
    this.#promiscuous = on;
    this.#apply();
  }

  /** Whether every frame to a group comes. @throws {VhostSystemError} Of the backend. */
  setAllMulticast(on: boolean): void {
    this.#allMulticast = on;
    this.#apply();
  }

  /** @throws {VhostSystemError} Of the backend. */
  setTable(table: MacTable): void {
    this.#table = table;
    this.#apply();
  }

  /**
   * The driver's own address is this one from now on, 6 bytes.
   *
   * @throws {VhostSystemError} Of the backend.
   */
  setOwn(mac: Uint8Array): void {
    this.#own = mac;
    this.#told = undefined;
    this.#apply();
  }

  /**
   * The driver is told another address, and may look at it or not.
   *
   * @throws {VhostSystemError} Of the backend.
   */
  addOwn(mac: Uint8Array): void {
    this.#told = mac;
    this.#apply();
  }

  /** Everything comes again. With an interface that is gone its filter is gone too. */
  reset(): void {
    const limited = this.#isLimited();
    this.#promiscuous = true;
    this.#allMulticast = false;
    this.#table = EMPTY;
    try {
      if (limited) this.#apply();
    } catch (error) {
      if (!this.#backend.lost()) throw error;
    }
  }

  #apply(): void {
    this.#keepsAway = false;
    const wanted = this.#isLimited() ? this.#wanted() : undefined;
    this.#keepsAway = this.#backend.setReceiveFilter?.(wanted) ?? false;
  }

  #isLimited(): boolean {
    return !this.#promiscuous && !this.#table.overflow;
  }

  #wanted(): ReceiveFilter {
    const { unicast, multicast } = this.#table;
    const own = [this.#own, this.#told].filter((mac) => mac !== undefined);
    return {
      unicast: [...own, ...unicast],
      multicast: this.#allMulticast ? 'all' : [BROADCAST, ...multicast],
    };
  }
}
