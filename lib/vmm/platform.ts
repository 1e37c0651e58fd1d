/**
 * What the devices of a machine ask of it, and what it asks of them. The device model knows KVM only by
 * these, so that a test can stand in for it.
 */
import type { EventFd } from '../sys/eventfd.js';

/** What a message-signalled interrupt writes, and where. */
export interface MsiMessage {
  /** Guest address; on x86 the local APIC that is meant. */
  readonly address: bigint;
  /** On x86 the vector and how it is delivered. */
  readonly data: number;
}

/**
 * Interrupt lines (GSIs) of the machine that carry messages. A route is set before an eventfd is
 * attached, and never taken away under one: what is signalled meanwhile would vanish.
 */
export interface Interrupts {
  /** A line of one's own. */
  allocate(): number;
  /** Gives a line back; nothing may be attached to it. */
  free(gsi: number): void;
  /** Says what the line delivers from now on, also while an eventfd is attached. */
  route(gsi: number, message: MsiMessage): void;
  /** `KVM_IRQFD`: from now on the kernel takes the counter and interrupts; at once if it is not 0. */
  attach(gsi: number, eventfd: EventFd): void;
  /** The counter stays where it is from now on, to be read as "pending". */
  detach(gsi: number, eventfd: EventFd): void;
}

/** Guest addresses at which a write of any width signals an eventfd, inside the kernel. */
export interface Doorbells {
  /** `KVM_IOEVENTFD` of length 0. */
  assign(address: number, eventfd: EventFd): void;
  deassign(address: number, eventfd: EventFd): void;
}

/** What answers guest accesses that leave the kernel: ports, or memory that is no RAM. */
export interface BusDevice {
  /**
   * @param size  Bytes: 1, 2, 4 or 8.
   * @returns Little-endian; what nobody answers is all ones. Above 4 bytes a number loses bits, so
   *   8-byte accesses come as two of 4.
   */
  read(address: number, size: number): number;
  write(address: number, size: number, value: number): void;
}
