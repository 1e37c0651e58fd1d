import { misuse } from '../errors.js';

/** Memory of the transmit ring, to be written in place and committed. */
export class Reservation {
  /** @internal The first slot; -1 once committed or cancelled. */
  slot: number;
  readonly #bytes: Uint8Array;

  /** @internal */
  constructor(bytes: Uint8Array, slot: number) {
    this.#bytes = bytes;
    this.slot = slot;
  }

  /**
   * The frame: exactly as long as was asked for. Not to be written to once it is committed or cancelled, also
   * not by a read of a file that was begun before: other frames are there then, and between the slots of a
   * long one their headers, of which one that makes no sense stops the ring until it is repaired.
   */
  get bytes(): Uint8Array {
    return this.#bytes;
  }
}

/** The reservations of one port that are neither committed nor cancelled. */
export class Reservations {
  /** Per slot, the reservation that has it. */
  readonly bySlot: (Reservation | undefined)[];

  constructor(size: number) {
    this.bySlot = new Array<Reservation | undefined>(size).fill(undefined);
  }

  make(bytes: Uint8Array, slot: number): Reservation {
    const reservation = new Reservation(bytes, slot);
    this.bySlot[slot] = reservation;
    return reservation;
  }

  /**
   * The slot of a reservation, which is used up by this.
   *
   * @throws {TypeError} It is used up already, or another port's, which has a slot of that number too.
   */
  use(reservation: Reservation): number {
    if (!(reservation instanceof Reservation) || this.bySlot[reservation.slot] !== reservation) {
      throw misuse.type('reservation', "this port's, and not used up yet", reservation);
    }
    const { slot } = reservation;
    this.bySlot[slot] = undefined;
    reservation.slot = -1;
    return slot;
  }
}
