import type { WordPlaces } from './split-layout.js';
import { publishThenLoad, storeRelease } from '../memory/ordering.js';
import { VRING_AVAIL_F_NO_INTERRUPT, VRING_USED_F_NO_NOTIFY } from '../uapi/virtio.js';

/**
 * Whether the other side wants to be told that an index went from `old` to `fresh`, having asked to
 * be told when it passes `event`. All of them 16 bits that run free.
 *
 * Spec: Virtio 1.3 §2.7.10 "Available Buffer Notification Suppression"; `vring_need_event` of
 * `<linux/virtio_ring.h>`.
 */
export function needEvent(event: number, fresh: number, old: number): boolean {
  return ((fresh - event - 1) & 0xffff) < ((fresh - old) & 0xffff);
}

/** What driver and device of one split virtqueue want to be told of, as the driver sees it. */
export class Notifications {
  readonly #words16: Uint16Array;
  readonly #places: WordPlaces;
  readonly #eventIdx: boolean;

  /** @param eventIdx  Whether `VIRTIO_RING_F_EVENT_IDX` was agreed on. */
  constructor(words16: Uint16Array, places: WordPlaces, eventIdx: boolean) {
    this.#words16 = words16;
    this.#places = places;
    this.#eventIdx = eventIdx;
  }

  /** Moves the avail index from `old` to `fresh`; whether the device must be kicked. */
  show(fresh: number, old: number): boolean {
    const { availIdx, availEvent, usedFlags } = this.#places;
    // Pairs with vhost, which writes avail_event (or the flag) and then reads avail->idx again: one of
    // the two sees the other's store. Also orders the descriptors and entries before the index.
    if (this.#eventIdx) {
      const event = publishThenLoad(this.#words16, availIdx, fresh, availEvent);
      return needEvent(event, fresh, old);
    }
    const flags = publishThenLoad(this.#words16, availIdx, fresh, usedFlags);
    return (flags & VRING_USED_F_NO_NOTIFY) === 0;
  }

  /** Asks for a call once `after` chains beyond `nextUsed` are used; true when so many are already. */
  arm(nextUsed: number, after: number): boolean {
    const { usedIdx, usedEvent, availFlags } = this.#places;
    let used: number;
    // Pairs with vhost, which stores used->idx and then reads used_event (or the flag).
    if (this.#eventIdx) {
      used = publishThenLoad(this.#words16, usedEvent, (nextUsed + after - 1) & 0xffff, usedIdx);
    } else {
      used = publishThenLoad(this.#words16, availFlags, 0, usedIdx);
    }
    return ((used - nextUsed) & 0xffff) >= after;
  }

  /** Asks for no calls. */
  disarm(nextUsed: number): void {
    const { usedEvent, availFlags } = this.#places;
    if (this.#eventIdx) {
      // An event just behind the index is reached only after a whole turn of 65,536.
      storeRelease(this.#words16, usedEvent, (nextUsed - 1) & 0xffff);
    } else {
      storeRelease(this.#words16, availFlags, VRING_AVAIL_F_NO_INTERRUPT);
    }
  }
}
