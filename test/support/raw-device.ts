import { Tap } from '#lib/backend/tap';
import { DriverQueue } from '#lib/ring/driver-queue';
import { splitLayout } from '#lib/ring/split-layout';
import { EventFd } from '#lib/sys/eventfd';
import { Pages } from '#lib/sys/pages';
import { VhostNet } from '#lib/sys/vhost-net';
import type { MemoryTableRow, VringAddresses } from '#lib/sys/vhost-net';
import { VRING_DESC_F_WRITE } from '#lib/uapi/virtio';

/** Descriptors of each ring. */
export const RING_SIZE = 16;

/** Bytes of each buffer, and where descriptors see the first. */
export const BUFFER_BYTES = 4096;
export const BUFFERS_AT = 16 * 4096;

/** Bytes of memory: rings first, then a page for each buffer of both rings. */
const MEMORY_BYTES = BUFFERS_AT + 2 * RING_SIZE * BUFFER_BYTES;

const LAYOUT = splitLayout(RING_SIZE);

/** Where a ring begins. */
const ringAt = (index: number) => index * 8 * 4096;

/** A header without offloads, of a virtio-net device with `VIRTIO_F_VERSION_1`. */
const HEADER_BYTES = 12;

/** Who has 10.9.0.1? 10.9.0.2 at 02:00:00:00:00:02 asks. */
const ARP_REQUEST = Buffer.from(
  'ffffffffffff0200000000020806' +
    '0001080006040001' +
    '0200000000020a090002' +
    '0000000000000a090001',
  'hex',
);

/**
 * vhost-net with nothing of this package between it and a test but one method for each ioctl, and
 * two rings that a driver would have.
 */
export class RawDevice {
  readonly vhost = new VhostNet();
  readonly memory = Pages.allocate({ byteLength: MEMORY_BYTES });
  readonly bytes = new Uint8Array(this.memory.buffer);
  readonly receive = this.#ring(0);
  readonly transmit = this.#ring(1);

  /** Everything at guest address 0. */
  get row(): MemoryTableRow {
    return { guestAddress: 0n, byteLength: BigInt(MEMORY_BYTES), hostAddress: this.memory.address };
  }

  /** Where vring `index` lies. */
  addresses(index: number): VringAddresses {
    const start = this.memory.address + BigInt(ringAt(index));
    const at = (offset: number) => start + BigInt(offset);
    return { desc: at(LAYOUT.desc), avail: at(LAYOUT.avail), used: at(LAYOUT.used) };
  }

  /** All that a vring needs before its backend. */
  setUp(index: number, parts = this.addresses(index)): void {
    const { kick, call } = index === 0 ? this.receive : this.transmit;
    this.vhost.setVringNum(index, RING_SIZE);
    this.vhost.setVringBase(index, 0);
    this.vhost.setVringAddr(index, parts);
    this.vhost.setVringCall(index, call);
    this.vhost.setVringKick(index, kick);
  }

  /** A tap that answers ARP, and takes frames with the header that vhost expects. */
  static tap(netns: string): Tap {
    const tap = Tap.open({ tap: 'vn0', netns, addresses: ['10.9.0.1/24'] });
    tap.agree({ headerSize: HEADER_BYTES, features: 0n });
    return tap;
  }

  /** Offers every receive buffer; buffer `i` is the page of that number. */
  offerReceive(): void {
    const { queue, kick } = this.receive;
    for (let i = 0; i < RING_SIZE; i++) {
      const id = queue.acquire();
      queue.setDescriptor(id, BUFFERS_AT + i * BUFFER_BYTES, BUFFER_BYTES, VRING_DESC_F_WRITE);
      queue.offer(id);
    }
    queue.publish();
    kick.signal();
  }

  /** Sends an ARP request from transmit buffer `i`. */
  sendArp(i: number): void {
    const { queue, kick } = this.transmit;
    const at = BUFFERS_AT + (RING_SIZE + i) * BUFFER_BYTES;
    this.bytes.fill(0, at, at + HEADER_BYTES).set(ARP_REQUEST, at + HEADER_BYTES);
    const id = queue.acquire();
    queue.setDescriptor(id, at, HEADER_BYTES + ARP_REQUEST.length, 0);
    queue.offer(id);
    queue.publish();
    kick.signal();
  }

  /** The length of what came into the next buffer, once it came. */
  async received(): Promise<number> {
    const { queue, call } = this.receive;
    while (queue.poll() === 0) await signalled(call);
    queue.take();
    return queue.takenLength;
  }

  close(): void {
    this.vhost.close();
    for (const { kick, call } of [this.receive, this.transmit]) {
      kick.close();
      call.close();
    }
    this.memory.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #ring(index: number): { queue: DriverQueue; kick: EventFd; call: EventFd } {
    const options = { size: RING_SIZE, eventIdx: false };
    const queue = new DriverQueue(this.memory.buffer, ringAt(index), options);
    return { queue, kick: new EventFd(), call: new EventFd() };
  }
}

/** When an eventfd is signalled, or was already; it is drained then. */
export function signalled(eventfd: EventFd): Promise<number> {
  return new Promise((resolve) => {
    eventfd.watch((count) => {
      eventfd.unwatch();
      resolve(count);
    });
  });
}
