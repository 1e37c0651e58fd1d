import { PlacedDoorbells } from './doorbells.js';
import { MsixTable } from './msix.js';
import type { MsixStatistics } from './msix.js';
import { allOnes } from './pci-bus.js';
import type { ConfigRange, PciFunction } from './pci-bus.js';
import { PciConfigSpace } from './pci-config.js';
import type { Doorbells, Interrupts } from './platform.js';
import type { VirtioDevice } from './virtio-device.js';
import { COMMON_BYTES, VirtioRegisters } from './virtio-registers.js';
import { misuse } from '../errors.js';
import {
  PCI_CAP_ID_MSIX,
  PCI_CAP_ID_VNDR,
  PCI_COMMAND,
  PCI_COMMAND_MASTER,
  PCI_MSIX_ENTRY_SIZE,
  PCI_MSIX_FLAGS,
  PCI_MSIX_FLAGS_ENABLE,
  PCI_MSIX_FLAGS_MASKALL,
} from '../uapi/pci.js';
import {
  VIRTIO_PCI_CAP_BAR,
  VIRTIO_PCI_CAP_COMMON_CFG,
  VIRTIO_PCI_CAP_DEVICE_CFG,
  VIRTIO_PCI_CAP_ISR_CFG,
  VIRTIO_PCI_CAP_LENGTH,
  VIRTIO_PCI_CAP_NOTIFY_CFG,
  VIRTIO_PCI_CAP_OFFSET,
  VIRTIO_PCI_CAP_PCI_CFG,
} from '../uapi/virtio-pci.js';
import { UndoList } from '../undo.js';

/** The one BAR, and what lies where in it: each in pages of its own. */
const BAR = 0;
const BAR_BYTES = 0x8000;
const COMMON = 0x0000;
const ISR = 0x1000;
const CONFIG = 0x2000;
const NOTIFY = 0x3000;
const MSIX_TABLE = 0x4000;
const MSIX_PENDING = 0x5000;
const AREA_BYTES = 0x1000;

/** Entries for which there is room between table and pending bits. */
const MOST_VECTORS = (MSIX_PENDING - MSIX_TABLE) / PCI_MSIX_ENTRY_SIZE;

/** Bytes from one queue's doorbell to the next: each has an address of its own. */
const NOTIFY_STRIDE = 4;

const ISR_CONFIG = 2;

/** Where the data of the window lies in its capability. */
const WINDOW_DATA = 16;
const WINDOW_BYTES = 20;

/** What happened on a function, beyond the kernel's data path. */
export interface VirtioPciStatistics {
  /** Notifications of queues that should have stayed in the kernel, and of those that come here. */
  readonly notifications: number;
  /** Interrupts for a changed configuration. */
  readonly configInterrupts: number;
  readonly resets: number;
  /** Doorbells registered with the kernel now. */
  readonly doorbells: number;
  readonly doorbellsRefused: number;
  readonly msix: MsixStatistics;
}

/** What a function of the bus is made of. */
export interface VirtioPciOptions {
  readonly device: VirtioDevice;
  readonly interrupts: Interrupts;
  readonly doorbells: Doorbells;
  /** A queue, a start or a tear-down failed; the device may be in need of a reset. */
  readonly onFailure: (error: unknown) => void;
}

/**
 * A virtio device as a PCI function: modern only, interrupts by MSI-X only, so that neither doorbells
 * nor interrupts ever need user space.
 *
 * Spec: Virtio 1.2 §4.1 "Virtio Over PCI Bus".
 */
export class VirtioPciFunction implements PciFunction {
  readonly config: PciConfigSpace;

  readonly #device: VirtioDevice;
  readonly #msix: MsixTable;
  readonly #msixAt: number;
  readonly #windowAt: number;
  readonly #registers: VirtioRegisters;
  readonly #doorbells: PlacedDoorbells;
  readonly #notifyBytes: number;
  #isr = 0;
  #notifications = 0;
  #configInterrupts = 0;

  constructor({ device, interrupts, doorbells, onFailure }: VirtioPciOptions) {
    this.#device = device;
    const queues = device.queueSizes.length;
    if (queues >= MOST_VECTORS) {
      throw misuse.range('queues', `fewer than ${String(MOST_VECTORS)}`, queues);
    }
    this.#notifyBytes = NOTIFY_STRIDE * queues;
    // One for each queue, and one for the configuration.
    this.#msix = new MsixTable(queues + 1, interrupts);
    this.#doorbells = new PlacedDoorbells(doorbells);
    this.config = new PciConfigSpace({
      vendorId: 0x1af4,
      deviceId: 0x1040 + device.type,
      revision: 1,
      classCode: device.classCode,
      subsystemVendorId: 0x1af4,
      subsystemId: 0x1100,
    });
    this.config.addBar(BAR, BAR_BYTES);
    this.#msixAt = this.#addMsix();
    this.#windowAt = this.#addVirtioCapabilities();
    this.#registers = new VirtioRegisters(device, this.#msix, {
      mayWrite: () => this.#mayWrite(),
      runningChanged: () => {
        this.#runningChanged();
      },
      configInterrupt: () => {
        this.#configInterrupt();
      },
      failed: onFailure,
    });
    device.attach({
      configChanged: () => {
        this.#configChanged();
      },
      needsReset: () => {
        this.#registers.needsReset();
      },
    });
  }

  /** What the window shows is read from the BAR. */
  get asked(): ConfigRange {
    const start = this.#windowAt + WINDOW_DATA;
    return { start, end: start + 4 };
  }

  readConfig(offset: number, size: number): number {
    if (this.#touchesWindow(offset, size)) this.#readWindow();
    return this.config.read(offset, size);
  }

  writeConfig(offset: number, size: number, value: number): void {
    const mastered = this.#mayWrite();
    this.config.write(offset, size, value);
    // A kernel that starts another takes the right to write to memory away, and no more than that.
    if (mastered && !this.#mayWrite() && this.#registers.running) this.#registers.needsReset();
    if (this.#touchesWindow(offset, size)) this.#writeWindow();
    this.#followConfig();
  }

  readBar(_bar: number, offset: number, size: number): number {
    const at = offset % AREA_BYTES;
    switch (offset - at) {
      case COMMON:
        return at + size <= COMMON_BYTES ? this.#registers.read(at, size) : 0;
      case ISR:
        return at === 0 ? this.#takeIsr() : 0;
      case CONFIG:
        return at + size <= this.#device.configBytes ? this.#device.readConfig(at, size) : 0;
      case MSIX_TABLE:
        return this.#msix.read(at, size);
      case MSIX_PENDING:
        return this.#msix.readPending(at, size);
      default:
        return 0;
    }
  }

  writeBar(_bar: number, offset: number, size: number, value: number): void {
    const at = offset % AREA_BYTES;
    switch (offset - at) {
      case COMMON:
        if (at + size <= COMMON_BYTES) this.#registers.write(at, size, value);
        break;
      case CONFIG:
        if (at + size <= this.#device.configBytes) this.#device.writeConfig(at, size, value);
        break;
      case NOTIFY:
        if (at < this.#notifyBytes) this.#notify(Math.floor(at / NOTIFY_STRIDE));
        break;
      case MSIX_TABLE:
        this.#msix.write(at, size, value);
        break;
    }
  }

  /** What a guest that starts anew finds. */
  reset(): void {
    this.config.reset();
    this.#registers.reset();
    this.#msix.reset();
  }

  /** Vectors: one for the configuration, then one for each queue, as Linux uses them. */
  get vectors(): number {
    return this.#msix.size;
  }

  /** Masks a vector from outside, or no longer; see {@link CardFaults}. */
  holdVector(index: number, held: boolean): void {
    this.#msix.hold(index, held);
  }

  statistics(): VirtioPciStatistics {
    return {
      notifications: this.#notifications,
      configInterrupts: this.#configInterrupts,
      resets: this.#registers.resets,
      doorbells: this.#doorbells.count,
      doorbellsRefused: this.#doorbells.refused,
      msix: this.#msix.statistics(),
    };
  }

  /** Stops the device, and lets go of doorbells and interrupt lines. The device is the caller's to close. */
  close(): void {
    const undo = new UndoList();
    undo.push(() => {
      this.#msix.close();
    });
    undo.push(() => {
      this.#doorbells.clear();
    });
    undo.push(() => {
      this.#registers.reset();
    });
    undo.unwind();
  }

  #addMsix(): number {
    const body = new DataView(new ArrayBuffer(10));
    body.setUint16(0, this.#msix.size - 1, true);
    body.setUint32(2, MSIX_TABLE | BAR, true);
    body.setUint32(6, MSIX_PENDING | BAR, true);
    const writable = new Uint8Array(10);
    writable[1] = (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
    return this.config.addCapability(PCI_CAP_ID_MSIX, new Uint8Array(body.buffer), writable);
  }

  /** Where the window begins. Virtio 1.2 §4.1.4 "Virtio Structure PCI Capabilities". */
  #addVirtioCapabilities(): number {
    const add = (type: number, offset: number, byteLength: number, extra: readonly number[] = []) =>
      this.config.addCapability(PCI_CAP_ID_VNDR, structure(type, offset, byteLength, extra));
    add(VIRTIO_PCI_CAP_COMMON_CFG, COMMON, COMMON_BYTES);
    add(VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY, this.#notifyBytes, [NOTIFY_STRIDE]);
    add(VIRTIO_PCI_CAP_ISR_CFG, ISR, 1);
    add(VIRTIO_PCI_CAP_DEVICE_CFG, CONFIG, this.#device.configBytes);
    const writable = new Uint8Array(WINDOW_BYTES - 2);
    writable[VIRTIO_PCI_CAP_BAR - 2] = 0xff;
    writable.fill(0xff, VIRTIO_PCI_CAP_OFFSET - 2);
    const window = structure(VIRTIO_PCI_CAP_PCI_CFG, 0, 0, [0]);
    return this.config.addCapability(PCI_CAP_ID_VNDR, window, writable);
  }

  /** Reading takes what is there. Virtio 1.2 §4.1.4.5 "ISR status capability". */
  #takeIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    return isr;
  }

  /** The kernel takes these itself, but where no doorbell could be registered. */
  #notify(queue: number): void {
    this.#notifications++;
    const doorbell = this.#device.doorbell(queue);
    if (doorbell) doorbell.signal();
    else if (this.#registers.running) this.#device.notify(queue);
  }

  #configChanged(): void {
    this.#registers.bumpGeneration();
    if (this.#registers.running) this.#configInterrupt();
  }

  /** Whether the function may write to memory, and so interrupt. */
  #mayWrite(): boolean {
    return (this.config.read(PCI_COMMAND, 2) & PCI_COMMAND_MASTER) !== 0;
  }

  #configInterrupt(): void {
    this.#isr |= ISR_CONFIG;
    if (!this.#mayWrite()) return;
    this.#configInterrupts++;
    this.#msix.event(this.#registers.configVector)?.signal();
  }

  #runningChanged(): void {
    this.#placeDoorbells();
    if (this.#registers.status === 0) {
      this.#isr = 0;
      this.#msix.forgetPending();
    }
  }

  /** After any write to configuration space: the BAR may be elsewhere, vectors masked. */
  #followConfig(): void {
    const flags = this.config.read(this.#msixAt + PCI_MSIX_FLAGS, 2);
    const enabled = (flags & PCI_MSIX_FLAGS_ENABLE) !== 0;
    this.#msix.control(enabled, (flags & PCI_MSIX_FLAGS_MASKALL) !== 0);
    this.#placeDoorbells();
  }

  /** Which queue has one depends on the features: there is none before a driver has chosen. */
  #placeDoorbells(): void {
    const bar = this.#registers.running ? this.config.barAddress(BAR) : undefined;
    this.#doorbells.place(bar === undefined ? undefined : bar + NOTIFY, NOTIFY_STRIDE, () =>
      this.#device.queueSizes.map((_, index) => this.#device.doorbell(index)),
    );
  }

  #touchesWindow(offset: number, size: number): boolean {
    const { start, end } = this.asked;
    return offset < end && offset + size > start;
  }

  /** Virtio 1.2 §4.1.4.9 "PCI configuration access capability". */
  #readWindow(): void {
    const { offset, length } = this.#window();
    if (length > 0) this.#setWindow(length, this.readBar(BAR, offset, length));
  }

  #writeWindow(): void {
    const { offset, length } = this.#window();
    const value = this.config.read(this.#windowAt + WINDOW_DATA, 4);
    if (length > 0) this.writeBar(BAR, offset, length, (value & allOnes(length)) >>> 0);
  }

  #setWindow(length: number, value: number): void {
    this.config.write(this.#windowAt + WINDOW_DATA, length, value);
  }

  /** Which bytes of the BAR the window shows; length 0: none that there are. */
  #window(): { offset: number; length: number } {
    const bar = this.config.read(this.#windowAt + VIRTIO_PCI_CAP_BAR, 1);
    const offset = this.config.read(this.#windowAt + VIRTIO_PCI_CAP_OFFSET, 4);
    const length = this.config.read(this.#windowAt + VIRTIO_PCI_CAP_LENGTH, 4);
    const fits = length === 1 || length === 2 || length === 4;
    const inside = bar === BAR && offset % length === 0 && offset + length <= BAR_BYTES;
    return { offset, length: fits && inside ? length : 0 };
  }
}

/** What follows id and link of a virtio capability. */
function structure(
  type: number,
  offset: number,
  byteLength: number,
  extra: readonly number[],
): Uint8Array {
  const capabilityBytes = 16 + 4 * extra.length;
  const body = new DataView(new ArrayBuffer(capabilityBytes - 2));
  body.setUint8(0, capabilityBytes);
  body.setUint8(1, type);
  body.setUint8(2, BAR);
  body.setUint32(6, offset, true);
  body.setUint32(10, byteLength, true);
  extra.forEach((value, index) => {
    body.setUint32(14 + 4 * index, value, true);
  });
  return new Uint8Array(body.buffer);
}
