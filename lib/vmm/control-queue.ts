import { OVERFLOW, readMacTable } from './guest-filter.js';
import type { MacTable } from './guest-filter.js';
import { DeviceQueue } from '../ring/device-queue.js';
import type { DeviceChain, DeviceQueueOptions } from '../ring/device-queue.js';
import type { EventFd } from '../sys/eventfd.js';
import {
  VIRTIO_NET_CTRL_ANNOUNCE,
  VIRTIO_NET_CTRL_ANNOUNCE_ACK,
  VIRTIO_NET_CTRL_GUEST_OFFLOADS,
  VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
  VIRTIO_NET_CTRL_MAC,
  VIRTIO_NET_CTRL_MAC_ADDR_SET,
  VIRTIO_NET_CTRL_MAC_TABLE_SET,
  VIRTIO_NET_CTRL_MQ,
  VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
  VIRTIO_NET_CTRL_RX,
  VIRTIO_NET_CTRL_RX_ALLMULTI,
  VIRTIO_NET_CTRL_RX_PROMISC,
  VIRTIO_NET_ERR,
  VIRTIO_NET_OK,
} from '../uapi/virtio-net.js';

/** What a driver may ask for. Each says whether it was done. */
export interface NetCommands {
  setQueuePairs(count: number): boolean;
  setMac(mac: Uint8Array): boolean;
  /** @param offloads  `VIRTIO_NET_F_GUEST_*` bits. */
  setGuestOffloads(offloads: bigint): boolean;
  /** Whether every frame is received. */
  setPromiscuous(on: boolean): boolean;
  /** Whether every frame to a group is. */
  setAllMulticast(on: boolean): boolean;
  /** Whose frames are received besides the driver's own. */
  setMacTable(table: MacTable): boolean;
  acknowledgeAnnounce(): boolean;
}

/** What was asked on a control queue. */
export interface ControlQueueStatistics {
  readonly commands: number;
  /** Of these, answered with `VIRTIO_NET_ERR`. */
  readonly refused: number;
}

/** Of a command no more is looked at: there is room for more addresses than a backend tells apart. */
const LONGEST = 2048;

/** Milliseconds of a turn: commands may stop workers, and others wait for this thread. */
const TURN = 2;

/** Class, command, bytes that follow at least, what it does with them; `cut`: there were more. */
type Command = readonly [
  group: number,
  command: number,
  byteLength: number,
  run: (commands: NetCommands, data: DataView, cut: boolean) => boolean,
];

const COMMANDS: readonly Command[] = [
  [
    VIRTIO_NET_CTRL_RX,
    VIRTIO_NET_CTRL_RX_PROMISC,
    1,
    (commands, data) => commands.setPromiscuous(data.getUint8(0) !== 0),
  ],
  [
    VIRTIO_NET_CTRL_RX,
    VIRTIO_NET_CTRL_RX_ALLMULTI,
    1,
    (commands, data) => commands.setAllMulticast(data.getUint8(0) !== 0),
  ],
  [
    VIRTIO_NET_CTRL_MAC,
    VIRTIO_NET_CTRL_MAC_TABLE_SET,
    8,
    (commands, data, cut) => {
      const table = cut ? OVERFLOW : readMacTable(data);
      return table !== undefined && commands.setMacTable(table);
    },
  ],
  [
    VIRTIO_NET_CTRL_MQ,
    VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
    2,
    (commands, data) => commands.setQueuePairs(data.getUint16(0, true)),
  ],
  [
    VIRTIO_NET_CTRL_MAC,
    VIRTIO_NET_CTRL_MAC_ADDR_SET,
    6,
    (commands, { buffer, byteOffset }) =>
      commands.setMac(new Uint8Array(buffer as ArrayBuffer, byteOffset, 6)),
  ],
  [
    VIRTIO_NET_CTRL_GUEST_OFFLOADS,
    VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
    8,
    (commands, data) => commands.setGuestOffloads(data.getBigUint64(0, true)),
  ],
  [
    VIRTIO_NET_CTRL_ANNOUNCE,
    VIRTIO_NET_CTRL_ANNOUNCE_ACK,
    0,
    (commands) => commands.acknowledgeAnnounce(),
  ],
];

/**
 * The queue on which a driver gives commands, served where it notifies. VLANs are refused: nothing here
 * filters them, and a driver is not to believe so.
 *
 * Spec: Virtio 1.2 §5.1.6.5 "Control Virtqueue".
 */
export class ControlQueue {
  /** What is signalled for an interrupt; undefined: the driver wants none. */
  call: EventFd | undefined;

  readonly #queue: DeviceQueue;
  readonly #commands: NetCommands;
  readonly #now: () => number;
  #closed = false;
  #count = 0;
  #refused = 0;

  /**
   * @param now  Milliseconds of a clock. Default: `performance.now()`.
   * @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: it lies where no queue can.
   */
  constructor(
    options: DeviceQueueOptions,
    call: EventFd | undefined,
    commands: NetCommands,
    now = () => performance.now(),
  ) {
    this.#queue = new DeviceQueue(options);
    this.call = call;
    this.#commands = commands;
    this.#now = now;
  }

  /** From now on nothing of the driver's memory is touched, also when a command is being done. */
  close(): void {
    this.#closed = true;
  }

  statistics(): ControlQueueStatistics {
    return { commands: this.#count, refused: this.#refused };
  }

  /**
   * Answers what is there: at the most a full queue, and for a moment, so that a driver which goes on
   * and on does not keep this thread.
   *
   * @returns Whether there may be more.
   * @throws {VhostError} `ERR_VHOST_QUEUE_CORRUPT`: what the driver wrote can't be true.
   */
  serve(): boolean {
    const until = this.#now() + TURN;
    let served = 0;
    do {
      if (this.#closed) return false;
      const chain = this.#queue.pop();
      if (chain) this.#answer(chain);
      else if (!this.#more()) return false;
    } while (++served < this.#queue.size && this.#now() < until);
    return this.#more();
  }

  /** Asks to be notified of the next command, also where a turn ends; whether one is there already. */
  #more(): boolean {
    return !this.#closed && this.#queue.arm();
  }

  #answer(chain: DeviceChain): void {
    const done = this.#run(chain.readable);
    this.#count++;
    if (!done) this.#refused++;
    // What it did may have stopped the device: the driver's memory may be another's by now.
    if (this.#closed) return;
    const ack = chain.writable.find((bytes) => bytes.length > 0);
    if (ack) ack[0] = done ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
    if (this.#queue.push(chain.head, ack ? 1 : 0)) this.call?.signal();
  }

  #run(buffers: readonly Uint8Array[]): boolean {
    const bytes = copyOf(buffers);
    const cut = buffers.reduce((sum, { length }) => sum + length, 0) > bytes.length;
    const [group, command] = bytes;
    const known = COMMANDS.find((one) => one[0] === group && one[1] === command);
    if (!known || bytes.length < 2 + known[2]) return false;
    return known[3](this.#commands, new DataView(bytes.buffer, 2), cut);
  }
}

/** The beginning of a command, where the driver can't change it any more. */
function copyOf(buffers: readonly Uint8Array[]): Uint8Array {
  const copy = new Uint8Array(LONGEST);
  let length = 0;
  for (const bytes of buffers) {
    const part = bytes.subarray(0, LONGEST - length);
    copy.set(part, length);
    length += part.length;
    if (length === LONGEST) break;
  }
  return copy.slice(0, length);
}
