import { native } from '../native.js';
import type { NativeDescriptor, NativeSentry } from '../native.js';

/** For the addon: no index was seen. */
const NONE = -1;

/** Where an index of a ring is. */
type IndexPlace = Readonly<{ words: Uint16Array; at: number }>;

/** A ring to look at. */
export interface RingPlace {
  readonly avail: IndexPlace;
  readonly used: IndexPlace;
  /** Descriptors. */
  readonly size: number;
  /** The queue of the interface behind it; one that is closed is gone. Undefined: it is not looked at. */
  readonly backend?: NativeDescriptor | undefined;
}

/**
 * Looks again and again whether the device goes on with a ring and the interface behind it is there, without
 * a word of JavaScript, until one look finds that it is not so: a look from JavaScript wakes all of an
 * engine, for some thousand times as many instructions.
 *
 * All is well when nothing waits, or the used index is another one than at the look before. Does not keep the
 * process alive.
 */
export class Sentry {
  readonly #native: NativeSentry;

  /**
   * @param seen  The used index when it was last looked; undefined: nothing waited then.
   * @param milliseconds  From one look to the next.
   * @param onAlarm  Called once, with the used index that stood still, or undefined when
   * it is not that; it does not look any more then.
   */
  constructor(
    { avail, used, size, backend }: RingPlace,
    seen: number | undefined,
    milliseconds: number,
    onAlarm: (seen: number | undefined) => void,
  ) {
    this.#native = new native.Sentry(
      ...([avail.words, avail.at, used.words, used.at, size] as const),
      ...([seen ?? NONE, milliseconds, onAlarm, backend] as const),
    );
  }

  /** Milliseconds until the next look; infinite when there is none to come. */
  get rest(): number {
    const rest = this.#native.rest();
    return rest < 0 ? Infinity : rest;
  }

  /** The used index at its last look; undefined: nothing waited. */
  get seen(): number | undefined {
    const seen = this.#native.seen();
    return seen === NONE ? undefined : seen;
  }

  /** Looks from now on, as if it were new. */
  again(seen: number | undefined): void {
    this.#native.again(seen ?? NONE);
  }

  /** Does not look until {@link again}. */
  pause(): void {
    this.#native.pause();
  }

  /** The ring lies elsewhere from now on: an alarm in a turn of its own, without anything standing still. */
  retire(): void {
    this.#native.retire();
  }

  /** No look comes any more. A second time does nothing. */
  close(): void {
    this.#native.close();
  }
}
