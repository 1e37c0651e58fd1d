import type { MsixTable } from './msix.js';
import type { DriverQueuePlace, VirtioDevice } from './virtio-device.js';
import { allOnes } from './pci-bus.js';
import { VhostError } from '../errors.js';
import {
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FAILED,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
  VIRTIO_MSI_NO_VECTOR,
  VIRTIO_PCI_COMMON_DF,
  VIRTIO_PCI_COMMON_DFSELECT,
  VIRTIO_PCI_COMMON_GF,
  VIRTIO_PCI_COMMON_GFSELECT,
  VIRTIO_PCI_COMMON_MSIX,
  VIRTIO_PCI_COMMON_Q_DESCLO,
  VIRTIO_PCI_COMMON_Q_ENABLE,
  VIRTIO_PCI_COMMON_Q_MSIX,
  VIRTIO_PCI_COMMON_Q_NDATA,
  VIRTIO_PCI_COMMON_Q_RESET,
  VIRTIO_PCI_COMMON_Q_SELECT,
  VIRTIO_PCI_COMMON_Q_SIZE,
  VIRTIO_PCI_COMMON_Q_USEDHI,
  VIRTIO_PCI_COMMON_STATUS,
} from '../uapi/virtio-pci.js';
import { VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1, has } from '../uapi/virtio.js';

/** Bytes of the common configuration. Virtio 1.2 §4.1.4.3 `struct virtio_pci_common_cfg`. */
export const COMMON_BYTES = 0x3c;

/** Both halves of the three addresses. */
const ADDRESS_WORDS = 6;

/** One queue as the driver sets it up. */
class QueueRegisters {
  size: number;
  vector = VIRTIO_MSI_NO_VECTOR;
  enabled = false;
  readonly addresses = new Uint32Array(ADDRESS_WORDS);

  constructor(readonly maxSize: number) {
    this.size = maxSize;
  }

  reset(): void {
    this.size = this.maxSize;
    this.vector = VIRTIO_MSI_NO_VECTOR;
    this.enabled = false;
    this.addresses.fill(0);
  }

  /** No safe integer where the driver wrote one that is too large. */
  address(part: number): number {
    return (this.addresses[2 * part + 1] ?? 0) * 2 ** 32 + (this.addresses[2 * part] ?? 0);
  }
}

/** What the registers need of the function around them. */
export interface RegisterOwner {
  /** Whether the device may read and write the driver's memory. */
  mayWrite(): boolean;
  /** A queue runs from now on, or none does any more. */
  runningChanged(): void;
  /** Something that a driver is to be told by the configuration's interrupt. */
  configInterrupt(): void;
  /** The device can't do what the driver asked for. */
  failed(error: unknown): void;
}

/**
 * The common configuration of a virtio-pci device: features, status, queues. Whatever a driver writes,
 * in whatever order and width, is answered; what the specification does not allow is ignored.
 *
 * Spec: Virtio 1.2 §4.1.4.3 "Common configuration structure layout", §3.1.1 "Driver Requirements:
 * Device Initialization", §2.1 "Device Status Field".
 */
export class VirtioRegisters {
  readonly #device: VirtioDevice;
  readonly #msix: MsixTable;
  readonly #owner: RegisterOwner;
  readonly #queues: readonly QueueRegisters[];
  /** Low and high half of what is offered, and of what the driver wants. */
  readonly #offered: readonly [number, number];
  readonly #wanted = new Uint32Array(2);
  /** The driver wants a bit that is in neither half. */
  #wantsUnknown = false;
  #deviceSelect = 0;
  #driverSelect = 0;
  #queueSelect = 0;
  #configVector = VIRTIO_MSI_NO_VECTOR;
  #status = 0;
  #generation = 0;
  #resets = 0;

  constructor(device: VirtioDevice, msix: MsixTable, owner: RegisterOwner) {
    this.#device = device;
    this.#msix = msix;
    this.#owner = owner;
    this.#queues = device.queueSizes.map((size) => new QueueRegisters(size));
    const { features } = device;
    this.#offered = [Number(features & 0xffffffffn), Number((features >> 32n) & 0xffffffffn)];
  }

  /** Whether the driver said `DRIVER_OK`, and was not told to reset. */
  get running(): boolean {
    const { DRIVER_OK, BROKEN } = STATES;
    return (this.#status & DRIVER_OK) !== 0 && (this.#status & BROKEN) === 0;
  }

  /** The vector of the configuration's interrupt. */
  get configVector(): number {
    return this.#configVector;
  }

  /** Device status, `VIRTIO_CONFIG_S_*`. */
  get status(): number {
    return this.#status;
  }

  /** How often a driver reset the device. */
  get resets(): number {
    return this.#resets;
  }

  /** @param size  1, 2 or 4; within {@link COMMON_BYTES}, also unaligned. */
  read(offset: number, size: number): number {
    const shift = 8 * (offset & 3);
    const word = this.#word(offset & ~3) >>> shift;
    const rest = 4 - (offset & 3);
    if (size <= rest) return (word & allOnes(size)) >>> 0;
    const next = this.#word((offset & ~3) + 4) << (8 * rest);
    return ((word | next) & allOnes(size)) >>> 0;
  }

  /** Fields have to be written as a whole. */
  write(offset: number, size: number, value: number): void {
    if (offset >= VIRTIO_PCI_COMMON_Q_DESCLO && offset < VIRTIO_PCI_COMMON_Q_USEDHI + 4) {
      if (size === 4 && offset % 4 === 0) this.#writeAddress(offset, value);
      return;
    }
    if (size === 4) this.#write32(offset, value);
    else if (size === 2) this.#write16(offset, value & 0xffff);
    else if (offset === VIRTIO_PCI_COMMON_STATUS) this.#writeStatus(value & 0xff);
  }

  /** The driver's view of the configuration is out of date. */
  bumpGeneration(): void {
    this.#generation = (this.#generation + 1) & 0xff;
  }

  /** Only a reset helps: until then nothing runs. */
  needsReset(): void {
    this.#status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    this.#try(() => {
      this.#device.stop();
    });
    this.#owner.runningChanged();
    if ((this.#status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0) this.#owner.configInterrupt();
  }

  /** Everything is stopped before the status reads 0. */
  reset(): void {
    this.#try(() => {
      this.#device.stop();
    });
    for (const queue of this.#queues) queue.reset();
    this.#wanted.fill(0);
    this.#wantsUnknown = false;
    this.#deviceSelect = this.#driverSelect = this.#queueSelect = 0;
    this.#configVector = VIRTIO_MSI_NO_VECTOR;
    this.#status = 0;
    this.#owner.runningChanged();
  }

  /** The double word at an offset, all of its fields in one. Looking changes nothing. */
  #word(offset: number): number {
    const queue = this.#queues[this.#queueSelect];
    switch (offset) {
      case VIRTIO_PCI_COMMON_DFSELECT:
        return this.#deviceSelect;
      case VIRTIO_PCI_COMMON_DF:
        return this.#offered[this.#deviceSelect] ?? 0;
      case VIRTIO_PCI_COMMON_GFSELECT:
        return this.#driverSelect;
      case VIRTIO_PCI_COMMON_GF:
        return this.#wanted[this.#driverSelect] ?? 0;
      case VIRTIO_PCI_COMMON_MSIX:
        return this.#configVector | (this.#queues.length << 16);
      case VIRTIO_PCI_COMMON_STATUS:
        return this.#status | (this.#generation << 8) | (this.#queueSelect << 16);
      case VIRTIO_PCI_COMMON_Q_SIZE:
        return (queue?.size ?? 0) | ((queue?.vector ?? VIRTIO_MSI_NO_VECTOR) << 16);
      case VIRTIO_PCI_COMMON_Q_ENABLE:
        return Number(queue?.enabled ?? false) | (this.#queueSelect << 16);
      case VIRTIO_PCI_COMMON_Q_NDATA:
        return queue ? this.#queueSelect : 0;
      default:
        return queue?.addresses[(offset - VIRTIO_PCI_COMMON_Q_DESCLO) / 4] ?? 0;
    }
  }

  #write32(offset: number, value: number): void {
    if (offset === VIRTIO_PCI_COMMON_DFSELECT) this.#deviceSelect = value;
    else if (offset === VIRTIO_PCI_COMMON_GFSELECT) this.#driverSelect = value;
    else if (offset === VIRTIO_PCI_COMMON_GF) this.#writeFeatures(value);
  }

  #write16(offset: number, value: number): void {
    if (offset === VIRTIO_PCI_COMMON_MSIX) this.#configVector = this.#vector(value);
    else if (offset === VIRTIO_PCI_COMMON_Q_SELECT) this.#queueSelect = value;
    const queue = this.#queues[this.#queueSelect];
    if (!queue) return;
    if (offset === VIRTIO_PCI_COMMON_Q_SIZE) this.#writeSize(queue, value);
    else if (offset === VIRTIO_PCI_COMMON_Q_MSIX) this.#writeVector(queue, value);
    else if (offset === VIRTIO_PCI_COMMON_Q_ENABLE && value === 1) this.#enable(queue);
    else if (offset === VIRTIO_PCI_COMMON_Q_RESET && value === 1) this.#resetQueue(queue);
  }

  /** Fixed once the device said that it takes them. */
  #writeFeatures(value: number): void {
    if ((this.#status & VIRTIO_CONFIG_S_FEATURES_OK) !== 0) return;
    if (this.#driverSelect < 2) this.#wanted[this.#driverSelect] = value;
    else if (value !== 0) this.#wantsUnknown = true;
  }

  #writeSize(queue: QueueRegisters, size: number): void {
    const fits = size > 0 && size <= queue.maxSize && (size & (size - 1)) === 0;
    if (fits && !queue.enabled) queue.size = size;
  }

  #writeAddress(offset: number, value: number): void {
    const queue = this.#queues[this.#queueSelect];
    if (!queue || queue.enabled) return;
    queue.addresses[(offset - VIRTIO_PCI_COMMON_Q_DESCLO) / 4] = value;
  }

  /** A vector that there is not reads back as none. */
  #vector(value: number): number {
    return value < this.#msix.size ? value : VIRTIO_MSI_NO_VECTOR;
  }

  #writeVector(queue: QueueRegisters, value: number): void {
    queue.vector = this.#vector(value);
    if (!this.running || !queue.enabled) return;
    const event = this.#msix.event(queue.vector);
    this.#try(() => {
      this.#device.setCall(this.#queueSelect, event);
    });
    // What was completed while there was nothing to signal is told now; once too often does no harm.
    event?.signal();
  }

  #enable(queue: QueueRegisters): void {
    if (queue.enabled) return;
    queue.enabled = true;
    if (!this.running) return;
    this.#serve(() => {
      this.#device.startQueue(this.#place(queue, this.#queueSelect));
    });
  }

  /** Virtio 1.2 §2.6.1 "Virtqueue Reset". Reads 0 at once: it is done when this returns. */
  #resetQueue(queue: QueueRegisters): void {
    if (!has(this.#driverFeatures, VIRTIO_F_RING_RESET) || !this.running) return;
    if (queue.enabled) {
      this.#try(() => {
        this.#device.stopQueue(this.#queueSelect);
      });
    }
    queue.reset();
  }

  #writeStatus(value: number): void {
    if (value === 0) {
      this.#resets++;
      this.reset();
      return;
    }
    const added = value & ~this.#status;
    this.#status |= added & STATES.SEEN;
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) !== 0) this.#checkFeatures();
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) !== 0) this.#start();
    if ((added & VIRTIO_CONFIG_S_FAILED) !== 0) this.#giveUp();
  }

  /** The driver reads the status back to see whether its choice was taken. */
  #checkFeatures(): void {
    const features = this.#driverFeatures;
    const beyond = (features & ~this.#device.features) !== 0n || this.#wantsUnknown;
    if ((this.#status & STATES.SEEN) !== STATES.SEEN || beyond) return;
    if (!has(features, VIRTIO_F_VERSION_1) || !this.#device.accepts(features)) return;
    this.#status |= VIRTIO_CONFIG_S_FEATURES_OK;
  }

  #start(): void {
    if ((this.#status & (VIRTIO_CONFIG_S_FEATURES_OK | STATES.BROKEN)) !== STATES.AGREED) return;
    this.#status |= VIRTIO_CONFIG_S_DRIVER_OK;
    const places = this.#queues.flatMap((queue, index) =>
      queue.enabled ? [this.#place(queue, index)] : [],
    );
    this.#serve(() => {
      if (!this.#owner.mayWrite())
        throw new VhostError('ERR_VHOST_STATE', 'DRIVER_OK of no bus master');
      this.#device.start(this.#driverFeatures, places);
    });
    this.#owner.runningChanged();
  }

  /** The driver may have given its memory back already. */
  #giveUp(): void {
    this.#status |= VIRTIO_CONFIG_S_FAILED;
    this.#try(() => {
      this.#device.stop();
    });
    this.#owner.runningChanged();
  }

  get #driverFeatures(): bigint {
    return BigInt(this.#wanted[0] ?? 0) | (BigInt(this.#wanted[1] ?? 0) << 32n);
  }

  #place(queue: QueueRegisters, index: number): DriverQueuePlace {
    return {
      index,
      size: queue.size,
      desc: queue.address(0),
      avail: queue.address(1),
      used: queue.address(2),
      call: this.#msix.event(queue.vector),
    };
  }

  /** Something that a driver asked for, and that it may have asked for wrongly. */
  #serve(body: () => void): void {
    if (!this.#try(body)) this.needsReset();
  }

  #try(body: () => void): boolean {
    try {
      body();
      return true;
    } catch (error) {
      this.#owner.failed(error);
      return false;
    }
  }
}

const STATES = {
  SEEN: VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
  AGREED: VIRTIO_CONFIG_S_FEATURES_OK,
  DRIVER_OK: VIRTIO_CONFIG_S_DRIVER_OK,
  BROKEN: VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED,
} as const;
