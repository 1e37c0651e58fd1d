import { misuse } from '../errors.js';

/** How many addresses a switch remembers, and for how long. */
export interface MacTableOptions {
  /** Most addresses at a time, 1 to 1048576. Default: 4096. */
  addresses?: number;
  /** Seconds after which an address that was not seen again is forgotten, more than 0. Default: 300. */
  ageSeconds?: number;
}

const MOST_ADDRESSES = 1 << 20;

/** The default of IEEE 802.1Q for `AgeingTime`. */
const AGE_SECONDS = 300;

/** How exactly the order of what was seen is kept: to move an address for every frame would cost. */
const ORDER_MILLISECONDS = 1000;

interface Entry<Port> {
  port: Port;
  /** When it was seen last. */
  seen: number;
  /** When it took its place in the order. */
  placed: number;
}

/** An Ethernet address at an offset of a frame, as a number of 48 bits. */
export function readAddress(bytes: Uint8Array, at: number): number {
  // Six reads, and not a DataView: to make one costs more.
  const high = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  const low =
    ((bytes[at + 2] ?? 0) << 24) |
    ((bytes[at + 3] ?? 0) << 16) |
    ((bytes[at + 4] ?? 0) << 8) |
    (bytes[at + 5] ?? 0);
  return high * 0x1_0000_0000 + (low >>> 0);
}

/**
 * Which Ethernet address was last seen at which port. Of bounded size: where somebody makes addresses up,
 * those give way that the port with the most of them has had for the longest time, so that others keep
 * theirs.
 */
export class MacTable<Port> {
  readonly #limit: number;
  readonly #age: number;
  readonly #entries = new Map<number, Entry<Port>>();
  /** Per port its addresses, those that were not seen for the longest time first. */
  readonly #ports = new Map<Port, Set<number>>();

  /** @throws {TypeError} or `RangeError`, naming the option that does not fit. */
  constructor(options: MacTableOptions = {}) {
    const { addresses = 4096, ageSeconds = AGE_SECONDS } = options;
    for (const [option, value] of Object.entries({ addresses, ageSeconds })) {
      if (typeof value !== 'number') throw misuse.type(option, 'a number', value);
    }
    if (!Number.isInteger(addresses) || addresses < 1 || addresses > MOST_ADDRESSES) {
      throw misuse.range('addresses', `an integer in 1..${String(MOST_ADDRESSES)}`, addresses);
    }
    if (!(ageSeconds > 0)) throw misuse.range('ageSeconds', 'more than 0', ageSeconds);
    this.#limit = addresses;
    this.#age = ageSeconds * 1000;
  }

  /** How many addresses are known; some of them may be too old to be found. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * An address was seen at a port, be it a new one, one that moved, or one that is known there.
   *
   * @param now  Milliseconds of a clock that does not go back.
   */
  learn(address: number, port: Port, now: number): void {
    const entry = this.#entries.get(address);
    if (entry === undefined) {
      if (this.#entries.size >= this.#limit) this.#makeRoom();
      this.#entries.set(address, { port, seen: now, placed: now });
      this.#addressesOf(port).add(address);
      return;
    }
    entry.seen = now;
    if (entry.port === port && now - entry.placed < ORDER_MILLISECONDS) return;
    this.#leave(address, entry.port);
    this.#addressesOf(port).add(address);
    entry.port = port;
    entry.placed = now;
  }

  /** The port where an address was last seen; undefined when that is unknown, or too long ago. */
  find(address: number, now: number): Port | undefined {
    const entry = this.#entries.get(address);
    if (entry === undefined) return undefined;
    if (now - entry.seen <= this.#age) return entry.port;
    this.#delete(address, entry.port);
    return undefined;
  }

  /** Forgets every address of a port. */
  forget(port: Port): void {
    for (const address of this.#ports.get(port) ?? []) this.#entries.delete(address);
    this.#ports.delete(port);
  }

  #addressesOf(port: Port): Set<number> {
    let addresses = this.#ports.get(port);
    if (addresses === undefined) this.#ports.set(port, (addresses = new Set()));
    return addresses;
  }

  #leave(address: number, port: Port): void {
    const addresses = this.#ports.get(port);
    addresses?.delete(address);
    if (addresses?.size === 0) this.#ports.delete(port);
  }

  #delete(address: number, port: Port): void {
    this.#entries.delete(address);
    this.#leave(address, port);
  }

  #makeRoom(): void {
    let [most] = this.#ports;
    for (const one of this.#ports) if (most && one[1].size > most[1].size) most = one;
    if (!most) return;
    for (const address of most[1]) {
      this.#delete(address, most[0]);
      return;
    }
  }
}
