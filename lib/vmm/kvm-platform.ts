import type { Doorbells, Interrupts, MsiMessage } from './platform.js';
import { VhostError } from '../errors.js';
import type { EventFd } from '../sys/eventfd.js';
import type { GsiRoute, KvmVm } from '../sys/kvm.js';
import { KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE } from '../uapi/kvm.js';

/** Pins of an IOAPIC; the first 16 also have their place at the PICs. */
const PINS = 24;
const PIC_PINS = 8;
/** `KVM_MAX_IRQ_ROUTES`: rows of the table, of which those of the pins are some. */
const MOST = 4096;

/** The table replaces whatever was there, so the pins are always part of it. */
const PIN_ROUTES: readonly GsiRoute[] = Array.from({ length: PINS }, (_, gsi): GsiRoute[] => {
  const ioapic = { gsi, chip: KVM_IRQCHIP_IOAPIC, pin: gsi };
  if (gsi >= 2 * PIC_PINS) return [ioapic];
  const chip = gsi < PIC_PINS ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
  return [{ gsi, chip, pin: gsi % PIC_PINS }, ioapic];
}).flat();

/**
 * The lines of a machine over KVM. They outlive its virtual machine: when a new one begins, it gets
 * the routes; nothing is attached then, for the devices were reset.
 */
export class KvmInterrupts implements Interrupts {
  #vm: KvmVm | undefined;
  readonly #routes = new Map<number, MsiMessage | undefined>();

  /** From now on the lines are those of this virtual machine; undefined: of none. */
  use(vm: KvmVm | undefined): void {
    this.#vm = vm;
    this.#write();
  }

  allocate(): number {
    for (let gsi = PINS; gsi < PINS + MOST - PIN_ROUTES.length; gsi++) {
      if (this.#routes.has(gsi)) continue;
      this.#routes.set(gsi, undefined);
      return gsi;
    }
    throw new VhostError('ERR_VHOST_STATE', 'all interrupt lines are taken');
  }

  free(gsi: number): void {
    this.#routes.delete(gsi);
    this.#write();
  }

  /** The table is refused as a whole: what KVM does not take must not be in the next one. */
  route(gsi: number, message: MsiMessage): void {
    const before = this.#routes.get(gsi);
    this.#routes.set(gsi, message);
    try {
      this.#write();
    } catch (error) {
      this.#routes.set(gsi, before);
      throw error;
    }
  }

  attach(gsi: number, eventfd: EventFd): void {
    this.#vm?.attachInterrupt(eventfd, gsi);
  }

  detach(gsi: number, eventfd: EventFd): void {
    this.#vm?.detachInterrupt(eventfd, gsi);
  }

  #write(): void {
    if (!this.#vm) return;
    const messages = [...this.#routes].flatMap(([gsi, message]) =>
      message ? [{ gsi, ...message }] : [],
    );
    this.#vm.setRouting([...PIN_ROUTES, ...messages]);
  }
}

/** The doorbells of a machine over KVM; like its {@link KvmInterrupts}. */
export class KvmDoorbells implements Doorbells {
  #vm: KvmVm | undefined;

  /** From now on the doorbells are those of this virtual machine; undefined: of none. */
  use(vm: KvmVm | undefined): void {
    this.#vm = vm;
  }

  assign(address: number, eventfd: EventFd): void {
    this.#vm?.attachDoorbell(eventfd, address);
  }

  deassign(address: number, eventfd: EventFd): void {
    this.#vm?.detachDoorbell(eventfd, address);
  }
}
