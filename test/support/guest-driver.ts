import assert from 'node:assert/strict';

import type { FakePlatform } from './fake-platform.js';
import type { PciBus } from '#lib/vmm/pci-bus';
import * as pci from '#lib/uapi/pci';
import * as virtio from '#lib/uapi/virtio-pci';

const ENABLE = 0x80000000;

/** Where a structure of the device lies, in guest addresses. */
export interface Area {
  readonly bar: number;
  readonly offset: number;
  readonly byteLength: number;
}

/** Guest addresses of a queue's parts. */
export interface GuestRingPlace {
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
}

/**
 * A guest's driver of a virtio-pci device, as Linux has one: it knows nothing but ports and memory.
 */
export class GuestDriver {
  readonly bus: PciBus;
  readonly platform: FakePlatform;
  readonly slot: number;
  /** Of the BAR, as it was sized. */
  barBytes = 0;
  bar = 0;
  readonly areas = new Map<number, Area>();
  notifyMultiplier = 0;
  windowAt = 0;
  msixAt = 0;
  /** Notifications that no doorbell took. */
  exits = 0;

  constructor(bus: PciBus, platform: FakePlatform, slot = 1) {
    this.bus = bus;
    this.platform = platform;
    this.slot = slot;
  }

  readConfig(offset: number, size: number, slot = this.slot): number {
    this.bus.ports.write(0xcf8, 4, ENABLE + slot * 0x800 + (offset & 0xfc));
    return this.bus.ports.read(0xcfc + (offset & 3), size);
  }

  writeConfig(offset: number, size: number, value: number): void {
    this.bus.ports.write(0xcf8, 4, ENABLE + this.slot * 0x800 + (offset & 0xfc));
    this.bus.ports.write(0xcfc + (offset & 3), size, value);
  }

  /** What `drivers/pci/probe.c` and `drivers/virtio/virtio_pci_modern_dev.c` do. */
  probe(): void {
    this.#sizeBar();
    for (let at = this.readConfig(pci.PCI_CAPABILITY_LIST, 1); at !== 0;) {
      this.#capability(this.readConfig(at, 1), at);
      at = this.readConfig(at + 1, 1);
    }
    this.setCommand(pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
  }

  setCommand(command: number): void {
    this.writeConfig(pci.PCI_COMMAND, 2, command);
  }

  /** With decode off, as Linux does it. */
  moveBar(address: number): void {
    const command = this.readConfig(pci.PCI_COMMAND, 2);
    this.setCommand(command & ~pci.PCI_COMMAND_MEMORY);
    this.writeConfig(pci.PCI_BASE_ADDRESS_0, 4, address);
    this.setCommand(command);
    this.bar = address;
  }

  address(type: number, offset = 0): number {
    const area = this.areas.get(type);
    assert.ok(area, `no capability ${String(type)}`);
    return this.bar + area.offset + offset;
  }

  common(offset: number, size: number): number {
    return this.bus.memory.read(this.address(virtio.VIRTIO_PCI_CAP_COMMON_CFG, offset), size);
  }

  setCommon(offset: number, size: number, value: number): void {
    const address = this.address(virtio.VIRTIO_PCI_CAP_COMMON_CFG, offset);
    this.bus.memory.write(address, size, value);
  }

  device(offset: number, size: number): number {
    return this.bus.memory.read(this.address(virtio.VIRTIO_PCI_CAP_DEVICE_CFG, offset), size);
  }

  isr(): number {
    return this.bus.memory.read(this.address(virtio.VIRTIO_PCI_CAP_ISR_CFG), 1);
  }

  get status(): number {
    return this.common(virtio.VIRTIO_PCI_COMMON_STATUS, 1);
  }

  set status(value: number) {
    this.setCommon(virtio.VIRTIO_PCI_COMMON_STATUS, 1, value);
  }

  addStatus(bits: number): void {
    this.status |= bits;
  }

  /** Offered by the device. */
  get features(): bigint {
    return this.#features(virtio.VIRTIO_PCI_COMMON_DFSELECT, virtio.VIRTIO_PCI_COMMON_DF);
  }

  /** ACKNOWLEDGE to FEATURES_OK; what was agreed on. */
  negotiate(wanted: (offered: bigint) => bigint): bigint {
    this.reset();
    this.addStatus(virtio.VIRTIO_CONFIG_S_ACKNOWLEDGE);
    this.addStatus(virtio.VIRTIO_CONFIG_S_DRIVER);
    const features = wanted(this.features);
    for (const [index, word] of [features & 0xffffffffn, features >> 32n].entries()) {
      this.setCommon(virtio.VIRTIO_PCI_COMMON_GFSELECT, 4, index);
      this.setCommon(virtio.VIRTIO_PCI_COMMON_GF, 4, Number(word));
    }
    this.addStatus(virtio.VIRTIO_CONFIG_S_FEATURES_OK);
    assert.ok(this.status & virtio.VIRTIO_CONFIG_S_FEATURES_OK, 'the device refused the features');
    return features;
  }

  driverOk(): void {
    this.addStatus(virtio.VIRTIO_CONFIG_S_DRIVER_OK);
  }

  /** As Linux: writes 0, then waits until 0 is read. */
  reset(): void {
    this.status = 0;
    assert.equal(this.status, 0);
  }

  /** Every vector masked, then MSI-X on. */
  enableMsix(): void {
    const flags = this.readConfig(this.msixAt + pci.PCI_MSIX_FLAGS, 2);
    this.writeConfig(this.msixAt + pci.PCI_MSIX_FLAGS, 2, flags | pci.PCI_MSIX_FLAGS_ENABLE);
  }

  get vectors(): number {
    return (this.readConfig(this.msixAt + pci.PCI_MSIX_FLAGS, 2) & 0x7ff) + 1;
  }

  /** Writes an entry of the table, as Linux does: masked, then the message, then unmasked. */
  setVector(index: number, data: number, address = 0xfee00000): void {
    this.maskVector(index, true);
    this.setEntry(index, pci.PCI_MSIX_ENTRY_LOWER_ADDR, address);
    this.setEntry(index, pci.PCI_MSIX_ENTRY_UPPER_ADDR, 0);
    this.setEntry(index, pci.PCI_MSIX_ENTRY_DATA, data);
    this.maskVector(index, false);
  }

  maskVector(index: number, masked: boolean): void {
    this.setEntry(index, pci.PCI_MSIX_ENTRY_VECTOR_CTRL, Number(masked));
  }

  setEntry(index: number, field: number, value: number): void {
    const table = this.readConfig(this.msixAt + pci.PCI_MSIX_TABLE, 4) & ~7;
    this.bus.memory.write(this.bar + table + index * pci.PCI_MSIX_ENTRY_SIZE + field, 4, value);
  }

  isPending(index: number): boolean {
    const pending = this.readConfig(this.msixAt + pci.PCI_MSIX_PBA, 4) & ~7;
    return ((this.bus.memory.read(this.bar + pending, 4) >>> index) & 1) === 1;
  }

  select(queue: number): void {
    this.setCommon(virtio.VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
  }

  /** `vp_active_vq` and `vp_modern_queue_vector`, then enables it. */
  setUpQueue(queue: number, size: number, place: GuestRingPlace, vector: number): void {
    this.select(queue);
    this.setCommon(virtio.VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
    const put = (offset: number, address: number) => {
      this.setCommon(offset, 4, address % 2 ** 32);
      this.setCommon(offset + 4, 4, Math.floor(address / 2 ** 32));
    };
    put(virtio.VIRTIO_PCI_COMMON_Q_DESCLO, place.desc);
    put(virtio.VIRTIO_PCI_COMMON_Q_AVAILLO, place.avail);
    put(virtio.VIRTIO_PCI_COMMON_Q_USEDLO, place.used);
    this.setCommon(virtio.VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
    this.setCommon(virtio.VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
  }

  resetQueue(queue: number): void {
    this.select(queue);
    this.setCommon(virtio.VIRTIO_PCI_COMMON_Q_RESET, 2, 1);
    assert.equal(this.common(virtio.VIRTIO_PCI_COMMON_Q_RESET, 2), 0);
    assert.equal(this.common(virtio.VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
  }

  doorbell(queue: number): number {
    this.select(queue);
    const offset = this.common(virtio.VIRTIO_PCI_COMMON_Q_NOFF, 2) * this.notifyMultiplier;
    return this.address(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, offset);
  }

  /** What a vCPU's write does: a doorbell of the kernel's takes it, or it comes to user space. */
  notify(queue: number): void {
    const address = this.doorbell(queue);
    if (this.platform.ring(address)) return;
    this.exits++;
    this.bus.memory.write(address, 2, queue);
  }

  /** A read of `size` bytes of the BAR through configuration space. */
  window(offset: number, size: number): number {
    this.#aimWindow(offset, size);
    return this.readConfig(this.windowAt + 16, size);
  }

  setWindow(offset: number, size: number, value: number): void {
    this.#aimWindow(offset, size);
    this.writeConfig(this.windowAt + 16, size, value);
  }

  #aimWindow(offset: number, size: number): void {
    this.writeConfig(this.windowAt + virtio.VIRTIO_PCI_CAP_BAR, 1, 0);
    this.writeConfig(this.windowAt + virtio.VIRTIO_PCI_CAP_OFFSET, 4, offset);
    this.writeConfig(this.windowAt + virtio.VIRTIO_PCI_CAP_LENGTH, 4, size);
  }

  #sizeBar(): void {
    const at = pci.PCI_BASE_ADDRESS_0;
    this.bar = this.readConfig(at, 4);
    this.writeConfig(at, 4, 0xffffffff);
    const mask = this.readConfig(at, 4);
    this.barBytes = (~(mask & ~0xf) >>> 0) + 1;
    this.writeConfig(at, 4, this.bar);
    assert.equal(mask & 0xf, 0, 'a memory BAR of 32 bits');
    assert.equal(this.readConfig(at, 4), this.bar);
  }

  #capability(id: number, at: number): void {
    if (id === pci.PCI_CAP_ID_MSIX) this.msixAt = at;
    if (id !== pci.PCI_CAP_ID_VNDR) return;
    const type = this.readConfig(at + virtio.VIRTIO_PCI_CAP_CFG_TYPE, 1);
    if (type === virtio.VIRTIO_PCI_CAP_PCI_CFG) this.windowAt = at;
    if (type === virtio.VIRTIO_PCI_CAP_NOTIFY_CFG) {
      this.notifyMultiplier = this.readConfig(at + 16, 4);
    }
    this.areas.set(type, {
      bar: this.readConfig(at + virtio.VIRTIO_PCI_CAP_BAR, 1),
      offset: this.readConfig(at + virtio.VIRTIO_PCI_CAP_OFFSET, 4),
      byteLength: this.readConfig(at + virtio.VIRTIO_PCI_CAP_LENGTH, 4),
    });
  }

  #features(select: number, word: number): bigint {
    this.setCommon(select, 4, 1);
    const high = BigInt(this.common(word, 4));
    this.setCommon(select, 4, 0);
    return (high << 32n) | BigInt(this.common(word, 4));
  }
}
