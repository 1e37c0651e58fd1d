import { VhostSystemError } from '#lib/errors';
import type { EventFd } from '#lib/sys/eventfd';
import type { Doorbells, Interrupts, MsiMessage } from '#lib/vmm/platform';

const EBUSY = 16;
const EEXIST = 17;
const EINVAL = 22;

/** One interrupt line. */
interface Line {
  message: MsiMessage | undefined;
  attached: EventFd | undefined;
  delivered: number;
}

const hex = (address: number | bigint) => `0x${address.toString(16)}`;

/**
 * What KVM does for a device, without KVM: takes the counters of attached eventfds, signals those of
 * doorbells. Refuses what KVM refuses, and what the order of calls forbids. Writes a log of all of it.
 */
export class FakePlatform implements Interrupts, Doorbells {
  readonly log: string[] = [];

  readonly #lines = new Map<number, Line>();
  readonly #bells = new Map<number, EventFd>();
  #next = 24;

  allocate(): number {
    const gsi = this.#next++;
    this.#lines.set(gsi, { message: undefined, attached: undefined, delivered: 0 });
    return gsi;
  }

  free(gsi: number): void {
    if (this.#line(gsi).attached) throw new Error(`line ${String(gsi)} freed while attached`);
    this.#lines.delete(gsi);
  }

  route(gsi: number, message: MsiMessage): void {
    if (message.data === 0xbad) throw new VhostSystemError(EINVAL, 'ioctl', 'KVM_SET_GSI_ROUTING');
    this.#line(gsi).message = message;
    this.log.push(`route ${String(gsi)} ${hex(message.address)} ${String(message.data)}`);
  }

  attach(gsi: number, eventfd: EventFd): void {
    const line = this.#line(gsi);
    if (!line.message) throw new Error(`line ${String(gsi)} attached before it was routed`);
    if ([...this.#lines.values()].some(({ attached }) => attached === eventfd)) {
      throw new VhostSystemError(EBUSY, 'ioctl', 'KVM_IRQFD');
    }
    line.attached = eventfd;
    this.log.push(`attach ${String(gsi)}`);
    this.deliver();
  }

  detach(gsi: number, eventfd: EventFd): void {
    const line = this.#line(gsi);
    if (line.attached !== eventfd) throw new Error(`line ${String(gsi)} has another eventfd`);
    this.deliver();
    line.attached = undefined;
    this.log.push(`detach ${String(gsi)}`);
  }

  assign(address: number, eventfd: EventFd): void {
    if (this.#bells.has(address)) throw new VhostSystemError(EEXIST, 'ioctl', 'KVM_IOEVENTFD');
    this.#bells.set(address, eventfd);
    this.log.push(`assign ${hex(address)}`);
  }

  deassign(address: number, eventfd: EventFd): void {
    if (this.#bells.get(address) !== eventfd) throw new Error(`no such doorbell ${hex(address)}`);
    this.#bells.delete(address);
    this.log.push(`deassign ${hex(address)}`);
  }

  /** Addresses of doorbells, in ascending order. */
  get bells(): number[] {
    return [...this.#bells.keys()].sort((a, b) => a - b);
  }

  /** Lines that are allocated. */
  get lines(): number {
    return this.#lines.size;
  }

  /** A guest's write: whether a doorbell took it. */
  ring(address: number): boolean {
    const bell = this.#bells.get(address);
    bell?.signal();
    return bell !== undefined;
  }

  /** The lines take what was signalled; interrupts that had this data so far. */
  deliver(data = -1): number {
    let sum = 0;
    for (const line of this.#lines.values()) {
      line.delivered += Math.min(line.attached?.drain() ?? 0, 1);
      if (line.message?.data === data) sum += line.delivered;
    }
    return sum;
  }

  /** The eventfd on whose line this data goes out. */
  attachedFor(data: number): EventFd | undefined {
    return [...this.#lines.values()].find(({ message }) => message?.data === data)?.attached;
  }

  #line(gsi: number): Line {
    const line = this.#lines.get(gsi);
    if (!line) throw new Error(`no line ${String(gsi)}`);
    return line;
  }
}
