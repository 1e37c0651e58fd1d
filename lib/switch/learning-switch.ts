import { newFabricCounters, pass } from './fabric.js';
import type { FabricCounters, FabricPort } from './fabric.js';
import { MacTable, readAddress } from './mac-table.js';
import type { MacTableOptions } from './mac-table.js';
import { misuse } from '../errors.js';
import type { Frame } from '../port/frame.js';
import type { ReceiveBatch } from '../port/receive.js';

/** Destination and source of an Ethernet frame. */
const SOURCE_AT = 6;

/** A port of the switch, and how to take it out again. */
interface Member {
  readonly port: FabricPort;
  readonly counters: FabricCounters;
  readonly receive: (batch: ReceiveBatch) => void;
}

/** Whether the first byte is that of a group address. */
function isGroup(bytes: Uint8Array, at: number): boolean {
  return ((bytes[at] ?? 0) & 1) !== 0;
}

/** 01-80-C2-00-00-00 to 0F: for the next bridge alone. IEEE 802.1Q, 8.6.3 "Frame filtering". */
function isReserved(address: number): boolean {
  return address >= 0x0180_c200_0000 && address <= 0x0180_c200_000f;
}

/**
 * An Ethernet switch between any number of ports of this thread. It learns where addresses are, sends a
 * frame for a known one there and every other to all ports but that it came from, and lets the ports'
 * workers read each frame where it was received. Tags of VLANs are passed on and not looked at. A port whose
 * ring is full loses the frame, as with any switch; that is counted.
 */
export class LearningSwitch {
  readonly #table: MacTable<Member>;
  readonly #members = new Map<FabricPort, Member>();

  /** @throws {TypeError} or `RangeError`, naming the option that does not fit. */
  constructor(options: MacTableOptions = {}) {
    this.#table = new MacTable(options);
  }

  /** How many addresses it has learned. */
  get addresses(): number {
    return this.#table.size;
  }

  /**
   * Takes an open port in.
   *
   * @throws {RangeError} It is in already.
   */
  add(port: FabricPort): void {
    if (this.#members.has(port)) throw misuse.range('port', 'one that is not in the switch', port);
    const receive = (batch: ReceiveBatch) => {
      this.#receive(member, batch);
    };
    const member = { port, counters: newFabricCounters(), receive };
    this.#members.set(port, member);
    port.on('receive', receive);
  }

  /** Takes a port out, and forgets the addresses behind it. It stays open. */
  remove(port: FabricPort): void {
    const member = this.#members.get(port);
    if (!member) return;
    port.off('receive', member.receive);
    this.#table.forget(member);
    this.#members.delete(port);
  }

  /** What became of a port's frames; zeros when it is not in the switch. */
  counters(port: FabricPort): Readonly<FabricCounters> {
    return this.#members.get(port)?.counters ?? newFabricCounters();
  }

  /** Takes every port out. */
  close(): void {
    for (const port of [...this.#members.keys()]) this.remove(port);
  }

  #receive(from: Member, batch: ReceiveBatch): void {
    const now = performance.now();
    const { queue } = batch;
    for (const frame of batch) {
      // A port always receives whole Ethernet headers in one piece.
      const { first } = frame;
      if (!isGroup(first, SOURCE_AT)) this.#table.learn(readAddress(first, SOURCE_AT), from, now);
      if (isGroup(first, 0)) this.#toGroup(from, frame, queue);
      else this.#toOne(from, frame, queue, now);
    }
  }

  #toOne(from: Member, frame: Frame, queue: number, now: number): void {
    const to = this.#table.find(readAddress(frame.first, 0), now);
    if (to === undefined) this.#flood(from, frame, queue);
    else if (to === from) from.counters.filtered++;
    else this.#send(to, frame, queue);
  }

  #toGroup(from: Member, frame: Frame, queue: number): void {
    if (isReserved(readAddress(frame.first, 0))) from.counters.filtered++;
    else this.#flood(from, frame, queue);
  }

  #flood(from: Member, frame: Frame, queue: number): void {
    from.counters.flooded++;
    for (const to of this.#members.values()) if (to !== from) this.#send(to, frame, queue);
  }

  #send(to: Member, frame: Frame, queue: number): void {
    if (!pass(frame, queue, to.port, to.counters)) to.counters.dropped++;
  }
}
