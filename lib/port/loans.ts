import type { Arena, SlotArea } from './arena.js';
import type { Frame } from './frame.js';
import type { DriverQueue } from '../ring/driver-queue.js';

/**
 * Frames that are sent from where they were received: the descriptors of a transmit ring name another
 * port's slots for as long as the device reads them. Which of them are out is known here.
 */
export class Loans {
  /** Frames that are out. */
  count = 0;

  readonly #queue: DriverQueue;
  readonly #slots: SlotArea;
  readonly #connect: (arena: Arena) => boolean;
  /** Per head, the frame that goes out from there. */
  readonly #frames: (Frame | undefined)[];
  /** Whether the device can reach an area's slots. */
  readonly #reach = new WeakMap<SlotArea, boolean>();
  /** One that it can: frames come from the same one for a while. */
  #lastReached: SlotArea | undefined;
  /** The areas that it can. */
  readonly #areas = new Set<SlotArea>();

  /** @param connect  Makes another port's memory known to the device; false when it can't be. */
  constructor(queue: DriverQueue, slots: SlotArea, connect: (arena: Arena) => boolean) {
    this.#queue = queue;
    this.#slots = slots;
    this.#connect = connect;
    this.#frames = new Array<Frame | undefined>(queue.size).fill(undefined);
  }

  /** Whether the device can read this frame where it lies. Asks once for each area. */
  reaches(frame: Frame): boolean {
    // Of a port that was closed nothing is left to read, and its addresses may be another's by now.
    if (frame.first.length === 0) return false;
    return frame.area === this.#lastReached || this.#reachesArea(frame.area);
  }

  #reachesArea(area: SlotArea): boolean {
    let reach = this.#reach.get(area);
    if (reach === undefined) {
      reach = area.arena !== undefined && this.#connect(area.arena);
      this.#reach.set(area, reach);
      if (reach) this.#areas.add(area);
    }
    if (reach) this.#lastReached = area;
    return reach;
  }

  /** Whether something is out that should come back soon. */
  get pressing(): boolean {
    if (this.count === 0) return false;
    for (const area of this.#areas) if (area.pressing) return true;
    return false;
  }

  /** Whether what lies before a frame is as long as the header that the device expects. */
  hasHeader({ area }: Frame): boolean {
    return area.headerSize === this.#slots.headerSize;
  }

  /**
   * Describes a frame where it lies; the head, or -1 when too few descriptors are free. Where its header
   * is of another length, one of our own goes before: that of the head's slot.
   */
  lend(frame: Frame): number {
    const queue = this.#queue;
    const isWhole = this.hasHeader(frame);
    if (queue.free <= frame.extraCount + (isWhole ? 0 : 1)) return -1;
    const { area } = frame;
    const head = queue.acquire();
    let before = head;
    if (isWhole) {
      queue.setDescriptor(head, area.address(frame.slot), area.headerSize + frame.firstLength, 0);
    } else {
      before = this.#describeBehind(head, frame);
    }
    for (let i = 0; i < frame.extraCount; i++) {
      const id = queue.acquire();
      const address = area.address(frame.extraSlots[i] ?? 0);
      queue.setDescriptor(id, address, frame.extraLengths[i] ?? 0, 0);
      queue.chain(before, id);
      before = id;
    }
    this.#frames[head] = frame;
    this.count++;
    area.out += 1 + frame.extraCount;
    frame.lend();
    return head;
  }

  /** The first piece of a frame, behind the header of another slot; the descriptor of that piece. */
  #describeBehind(head: number, { area, slot, firstLength }: Frame): number {
    const queue = this.#queue;
    queue.setDescriptor(head, this.#slots.address(head), this.#slots.headerSize, 0);
    const id = queue.acquire();
    queue.setDescriptor(id, area.address(slot) + area.headerSize, firstLength, 0);
    queue.chain(head, id);
    return id;
  }

  /** The device has read the chain with this head: a frame goes back to the port it came from. */
  settle(head: number): void {
    const frame = this.#frames[head];
    if (!frame) return;
    this.#frames[head] = undefined;
    this.count--;
    frame.area.out -= 1 + frame.extraCount;
    // The descriptors name their own slots again.
    for (let id = head; id >= 0; id = this.#queue.next(id)) {
      this.#queue.setDescriptor(id, this.#slots.address(id), this.#slots.headerSize, 0);
    }
    frame.takeBack();
  }

  /** The device has let go of the ring, and every descriptor is described anew. */
  returnAll(): void {
    if (this.count === 0) return;
    const out = this.#frames.filter((frame) => frame !== undefined);
    this.#frames.fill(undefined);
    this.count = 0;
    for (const frame of out) {
      frame.area.out -= 1 + frame.extraCount;
      frame.takeBack();
    }
  }

  /** Whether something of this arena is out. */
  has(arena: Arena): boolean {
    return this.count > 0 && this.#frames.some((frame) => frame?.area.arena === arena);
  }

  /** The device can't reach this arena any more. */
  forget(arena: Arena): void {
    this.#reach.delete(arena.receiveSlots);
    this.#areas.delete(arena.receiveSlots);
    this.#lastReached = undefined;
  }
}
