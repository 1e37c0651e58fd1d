import { FakePlatform } from './fake-platform.js';
import { GuestDriver } from './guest-driver.js';
import type { GuestRingPlace } from './guest-driver.js';
import type { Backend } from '#lib/backend/backend';
import { GuestMemory } from '#lib/memory/guest-memory';
import { DriverQueue } from '#lib/ring/driver-queue';
import type { Segment } from '#lib/ring/descriptor-table';
import { splitLayout } from '#lib/ring/split-layout';
import { EventFd } from '#lib/sys/eventfd';
import { Pages } from '#lib/sys/pages';
import { VIRTIO_NET_F_MQ } from '#lib/uapi/virtio-net';
import { VIRTIO_RING_F_EVENT_IDX, VRING_DESC_F_WRITE, has } from '#lib/uapi/virtio';
import type { GuestFault } from '#lib/vmm/guest-repair';
import { PciBus } from '#lib/vmm/pci-bus';
import { VirtioNetDevice } from '#lib/vmm/virtio-net-device';
import type { VirtioNetOptions } from '#lib/vmm/virtio-net-device';
import { VirtioPciFunction } from '#lib/vmm/virtio-pci';

export const GUEST_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);
/** Where the guest's memory begins: not at 0, so that an address not translated shows. */
export const MEMORY_AT = 0x100000;
export const RING_SIZE = 64;
export const HEADER_BYTES = 12;

/** Bytes of the guest's memory, and of pages behind it that are not the guest's. */
export const MEMORY_BYTES = 4 * 1024 * 1024;
const BEHIND_BYTES = 1024 * 1024;
const RING_BYTES = 0x10000;
const BUFFER_BYTES = 4096;
/** Rings lie below. */
const BUFFERS_AT = 16 * RING_BYTES;

/** Interrupt data of the configuration, and of the queues from here on. */
export const CONFIG_DATA = 0x40;
export const QUEUE_DATA = 0x41;

/**
 * A guest with a network device: memory, PCI bus, driver, but no CPU. What a vCPU would do is done by
 * hand, what the kernel does for a device it does.
 */
export class GuestNet {
  readonly platform = new FakePlatform();
  readonly pages = Pages.allocate({ byteLength: MEMORY_BYTES + BEHIND_BYTES });
  readonly bytes = new Uint8Array(this.pages.buffer, 0, MEMORY_BYTES);
  /** What nobody may touch. */
  readonly behind = new Uint8Array(this.pages.buffer, MEMORY_BYTES);
  readonly memory = new GuestMemory([
    {
      guestAddress: MEMORY_AT,
      hostAddress: this.pages.address,
      buffer: this.pages.buffer,
      byteLength: MEMORY_BYTES,
    },
  ]);
  readonly bus = new PciBus({ start: 0xe0000000, byteLength: 0x1000000 });
  readonly faults: GuestFault[] = [];
  readonly failures: unknown[] = [];
  readonly device: VirtioNetDevice;
  readonly pci: VirtioPciFunction;
  readonly driver: GuestDriver;
  features = 0n;
  queues: DriverQueue[] = [];

  constructor(backend: Backend, options: Partial<VirtioNetOptions> = {}) {
    this.device = new VirtioNetDevice({
      backend,
      memory: this.memory,
      mac: GUEST_MAC,
      onFault: (fault) => this.faults.push(fault),
      ...options,
    });
    this.pci = new VirtioPciFunction({
      device: this.device,
      interrupts: this.platform,
      doorbells: this.platform,
      onFailure: (error) => this.failures.push(error),
    });
    this.bus.add(this.pci);
    this.driver = new GuestDriver(this.bus, this.platform);
    this.driver.probe();
  }

  /** All that a driver does until its device works. */
  begin(wanted = (offered: bigint) => offered): void {
    this.features = this.driver.negotiate(wanted);
    this.driver.enableMsix();
    const count = this.device.queueSizes.length;
    this.driver.setVector(0, CONFIG_DATA);
    this.driver.setCommon(16, 2, 0);
    this.queues = [];
    for (let index = 0; index < count; index++) {
      this.driver.setVector(index + 1, QUEUE_DATA + index);
      this.setUpQueue(index);
    }
    this.driver.driverOk();
  }

  /** Lays a ring anew, and enables it. */
  setUpQueue(index: number, room = index): void {
    const { buffer } = this.pages;
    const eventIdx = has(this.features, VIRTIO_RING_F_EVENT_IDX);
    this.queues[index] = new DriverQueue(buffer, room * RING_BYTES, { size: RING_SIZE, eventIdx });
    this.driver.setUpQueue(index, RING_SIZE, ringPlace(room), index + 1);
  }

  queue(index: number): DriverQueue {
    const queue = this.queues[index];
    if (!queue) throw new Error(`no queue ${String(index)}`);
    return queue;
  }

  /** Offers receive buffers, one for each descriptor. */
  offerReceive(index = 0): void {
    const queue = this.queue(index);
    for (let i = 0; i < RING_SIZE; i++) {
      const id = queue.acquire();
      queue.setDescriptor(id, bufferAddress(index, id), BUFFER_BYTES, VRING_DESC_F_WRITE);
      queue.offer(id);
    }
    queue.armCalls(1);
    if (queue.publish()) this.driver.notify(index);
  }

  /**
   * Puts frames in the transmit ring, and notifies once.
   *
   * @param header  Of each frame.
   */
  send(frames: readonly Uint8Array[], index = 1, header = new Uint8Array(HEADER_BYTES)): void {
    const queue = this.queue(index);
    for (const frame of frames) {
      const id = queue.acquire();
      if (id < 0) throw new Error('the transmit ring is full');
      const address = bufferAddress(index, id);
      const at = address - MEMORY_AT;
      this.bytes.set(header, at);
      this.bytes.set(frame, at + HEADER_BYTES);
      queue.setDescriptor(id, address, HEADER_BYTES + frame.length, 0);
      queue.offer(id);
    }
    queue.armCalls(frames.length);
    if (queue.publish()) this.driver.notify(index);
  }

  /** Takes back every chain of the transmit ring, once the worker has used so many. */
  reclaim(count: number, index = 1): void {
    const queue = this.queue(index);
    for (let n = 0; n < count; n++) {
      this.untilUsed(index);
      queue.release(queue.take());
      queue.armCalls(1);
    }
  }

  /** The next fault; fails after 10 s. */
  async fault(): Promise<GuestFault> {
    const deadline = performance.now() + 10_000;
    for (;;) {
      const fault = this.faults.shift();
      if (fault) return fault;
      if (performance.now() > deadline) throw new Error('no fault for 10 s');
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Behind all queue pairs, or behind the first where the guest knows of no other. */
  get controlIndex(): number {
    return has(this.features, VIRTIO_NET_F_MQ) ? this.queues.length - 1 : 2;
  }

  /** Gives one command; the device's answer. */
  command(group: number, command: number, data: Uint8Array = new Uint8Array(0)): number {
    const index = this.controlIndex;
    const queue = this.queue(index);
    const address = bufferAddress(index, 0);
    const at = address - MEMORY_AT;
    this.bytes.set([group, command, ...data, 0xff], at);
    const segments: Segment[] = [{ address, length: 2, writable: false }];
    if (data.length > 0)
      segments.push({ address: address + 2, length: data.length, writable: false });
    segments.push({ address: address + 2 + data.length, length: 1, writable: true });
    queue.offer(queue.addChain(segments));
    if (queue.publish()) this.driver.notify(index);
    if (queue.poll() === 0) throw new Error('the command was not answered');
    queue.release(queue.take());
    return this.bytes[at + 2 + data.length] ?? -1;
  }

  /** The next frame that the guest received; its buffer is offered again. */
  receive(index = 0): Uint8Array {
    const queue = this.queue(index);
    this.untilUsed(index);
    const id = queue.take();
    const at = bufferAddress(index, id) - MEMORY_AT;
    const frame = this.bytes.slice(at + HEADER_BYTES, at + queue.takenLength);
    queue.offer(id);
    queue.armCalls(1);
    if (queue.publish()) this.driver.notify(index);
    return frame;
  }

  /** Waits for the interrupt of a queue until the worker has used something. */
  untilUsed(index: number): void {
    const queue = this.queue(index);
    for (let waited = 0; queue.poll() === 0; waited++) {
      if (waited === 10) throw new Error(`nothing used in queue ${String(index)} for 10 s`);
      const event = this.platform.attachedFor(QUEUE_DATA + index);
      if (event) EventFd.wait(1000, event);
      this.platform.deliver();
    }
  }

  /** Interrupts of a queue so far. */
  interrupts(index: number): number {
    return this.platform.deliver(QUEUE_DATA + index);
  }

  configInterrupts(): number {
    return this.platform.deliver(CONFIG_DATA);
  }

  close(): void {
    this.pci.close();
    this.device.close();
    this.memory.close();
    this.pages.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Where the parts of a queue lie. */
export function ringPlace(index: number): GuestRingPlace {
  const { desc, avail, used } = splitLayout(RING_SIZE);
  const at = MEMORY_AT + index * RING_BYTES;
  return { desc: at + desc, avail: at + avail, used: at + used };
}

/** The guest address of a descriptor's own buffer; in a longer ring several have one. */
export function bufferAddress(index: number, id: number): number {
  return MEMORY_AT + BUFFERS_AT + (index * RING_SIZE + (id % RING_SIZE)) * BUFFER_BYTES;
}
