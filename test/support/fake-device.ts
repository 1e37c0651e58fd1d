import { EventFd } from '#lib/sys/eventfd';
import { VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1, bit } from '#lib/uapi/virtio';
import type { DriverQueuePlace, VirtioDevice, VirtioTransport } from '#lib/vmm/virtio-device';

/** A virtio device that writes down what its transport wants of it. Queue 2 has no doorbell. */
export class FakeDevice implements VirtioDevice {
  readonly type = 1;
  readonly classCode = 0x020000;
  readonly features = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_F_RING_RESET) | bit(5) | bit(1);
  readonly queueSizes: readonly number[];
  readonly configBytes = 20;
  readonly config = Uint8Array.from({ length: 20 }, (_, i) => i + 1);
  readonly log: string[];
  readonly kicks: readonly EventFd[];
  transport: VirtioTransport | undefined;
  places: readonly DriverQueuePlace[] = [];
  /** What the next start throws. */
  refusal: Error | undefined;
  running = false;

  constructor(log: string[] = [], queues = 3) {
    this.log = log;
    this.queueSizes = new Array<number>(queues).fill(256);
    this.kicks = this.queueSizes.map(() => new EventFd());
  }

  attach(transport: VirtioTransport): void {
    this.transport = transport;
  }

  readConfig(offset: number, size: number): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + (this.config[offset + i] ?? 0xee);
    return value;
  }

  writeConfig(offset: number, size: number, value: number): void {
    this.log.push(`config ${String(offset)} ${String(size)} ${String(value)}`);
  }

  /** Bit 1 needs bit 5. */
  accepts(features: bigint): boolean {
    return (features & bit(1)) === 0n || (features & bit(5)) !== 0n;
  }

  start(features: bigint, queues: readonly DriverQueuePlace[]): void {
    if (this.refusal) throw this.refusal;
    this.running = true;
    this.places = queues;
    this.log.push(`start 0x${features.toString(16)} [${queues.map(({ index }) => index).join()}]`);
  }

  stop(): void {
    if (this.running) this.log.push('stop');
    this.running = false;
  }

  startQueue(queue: DriverQueuePlace): void {
    if (this.refusal) throw this.refusal;
    this.log.push(`start queue ${String(queue.index)}`);
  }

  stopQueue(index: number): void {
    this.log.push(`stop queue ${String(index)}`);
  }

  setCall(index: number, event: EventFd | undefined): void {
    this.log.push(`call ${String(index)} ${event ? 'set' : 'none'}`);
  }

  doorbell(index: number): EventFd | undefined {
    return index === 2 ? undefined : this.kicks[index];
  }

  notify(index: number): void {
    this.log.push(`notify ${String(index)}`);
  }

  close(): void {
    for (const kick of this.kicks) kick.close();
  }
}
