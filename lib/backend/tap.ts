import { HostInterface } from './host-interface.js';
import { checkTapOptions } from './tap-options.js';
import type { CheckedTapOptions, TapOptions } from './tap-options.js';
import { TunBackend } from './tun-backend.js';
import type { OpenTun, TunOpening } from './tun-backend.js';
import { VhostError, VhostSystemError } from '../errors.js';
import { spreadOver } from '../sys/bpf.js';
import { Links, duplicate, openNetns } from '../sys/link.js';
import type { NativeDescriptor } from '../sys/link.js';
import { Tun } from '../sys/tun.js';
import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_PERSIST, IFF_TAP, IFF_VNET_HDR } from '../uapi/tun.js';
import { allOrNothing } from '../undo.js';
import type { UndoList } from '../undo.js';

function look<T>(netns: NativeDescriptor | undefined, body: (links: Links) => T): T {
  const links = new Links(netns);
  try {
    return body(links);
  } finally {
    links.close();
  }
}

/** Why an interface took no queue: the kernel has one EINVAL for all causes, the interface tells. */
function whyInvalid(name: string, netns: NativeDescriptor | undefined): string | undefined {
  try {
    const { tap } = look(netns, (links) => links.get(name));
    if (!tap) return `${name} is no tap`;
    return tap.multiQueue
      ? `${name} was made with multi_queue: make it without, or open it with multiQueue: true`
      : `${name} was made without multi_queue: make it with, or open it with one queue pair`;
  } catch (error) {
    const absent = (error as NodeJS.ErrnoException).code === 'ENODEV';
    return absent ? `no interface can have the name ${name}` : undefined;
  }
}

/** Makes a queue one of the interface's; its name. */
function join(tun: Tun, name: string, flags: number, netns: NativeDescriptor | undefined): string {
  try {
    return tun.setIff(name, flags);
  } catch (error) {
    if (!(error instanceof VhostSystemError) || error.code !== 'EINVAL') throw error;
    const { errno, syscall, request, path } = error;
    throw new VhostSystemError(-errno, syscall, request, path, whyInvalid(name, netns));
  }
}

/** Opens a queue, inside the namespace when one was named, and attaches it to the interface. */
function attach(
  options: CheckedTapOptions,
  flags: number,
  undo: UndoList,
): { tun: Tun; name: string } {
  const netns = options.netns === undefined ? undefined : openNetns(options.netns);
  try {
    const tun = new Tun(netns);
    undo.push(() => {
      tun.close();
    });
    return { tun, name: join(tun, options.tap, flags, netns) };
  } finally {
    netns?.close();
  }
}

/** Its name now: it may have been renamed. */
function currentName(host: HostInterface): string {
  try {
    return host.link().name;
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'ENODEV' ? elsewhere(host) : error;
  }
}

function elsewhere({ name }: HostInterface): VhostError {
  const message = `the interface that was opened as ${name} is gone, or in another network namespace`;
  return new VhostError('ERR_VHOST_BACKEND_LOST', message);
}

/** The interface, where it is. Into another namespace than this thread's it takes rights. */
function hostOf(tun: Tun, name: string, options: CheckedTapOptions, undo: UndoList): HostInterface {
  const host = new HostInterface(name, options.netns === undefined ? undefined : tun.getNetns());
  undo.push(() => {
    host.close();
  });
  return host;
}

/** What is said of all queues at once. */
function applyTo(tun: Tun, options: CheckedTapOptions): void {
  const { owner, group, persistent, program } = options;
  if (owner !== undefined) tun.setOwner(owner);
  if (group !== undefined) tun.setGroup(group);
  if (program) tun.setFilter(program);
  if (persistent !== undefined) tun.setPersist(persistent);
}

/** How many queues it has, of whomever; undefined: it does not say. */
function queueCount(host: HostInterface): number | undefined {
  try {
    return host.queueCount();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENODEV') throw error;
    return undefined;
  }
}

/** Undefined without the right to load a program. */
function spread(count: number): NativeDescriptor | undefined {
  try {
    return spreadOver(count);
  } catch (error) {
    if (error instanceof VhostSystemError) return undefined;
    throw error;
  }
}

/** With the interface the program is gone too. */
function endSteering(tun: Tun, lostCode: string): void {
  try {
    if (!tun.closed) tun.setSteering(undefined);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== lostCode) throw error;
  }
}

/** By name: the interface is created, or attached to. */
class NamedTap implements TunOpening {
  readonly lostCode = 'EBADFD';
  readonly #flags: number;
  /** Ours, for each time that the interface is made again: the caller may have closed the one that was given. */
  readonly #steering: NativeDescriptor | undefined;
  #options: CheckedTapOptions;
  #wasPersistent = false;

  constructor(options: CheckedTapOptions, multiQueue: boolean) {
    this.#options = options;
    this.#steering = options.steering === undefined ? undefined : duplicate(options.steering);
    this.#flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multiQueue ? IFF_MULTI_QUEUE : 0);
  }

  open(): OpenTun {
    return allOrNothing((undo) => {
      const { tun, name } = attach(this.#options, this.#flags, undo);
      this.#wasPersistent = (tun.getIff().flags & IFF_PERSIST) !== 0;
      // A name that the kernel completed is the name from now on.
      this.#options = { ...this.#options, tap: name };
      const host = hostOf(tun, name, this.#options, undo);
      // Who said that others may attach must expect them at any moment.
      const shared = this.#options.multiQueue === true || (host.found.tap?.queueCount ?? 1) > 1;
      host.configure(this.#options);
      if (this.#steering) tun.setSteering(this.#steering);
      applyTo(tun, this.#options);
      return { tun, host, shared };
    });
  }

  addQueue({ host }: OpenTun): Tun {
    if ((this.#flags & IFF_MULTI_QUEUE) === 0) {
      throw new VhostError(
        'ERR_VHOST_BACKEND_QUEUES',
        `the tap ${this.#options.tap} has one queue, and can't have more`,
        'open it with multiQueue: true',
      );
    }
    return allOrNothing((undo) => {
      const tap = currentName(host);
      const { tun, name } = attach({ ...this.#options, tap }, this.#flags, undo);
      // By a name that is free by now the kernel makes another interface.
      if (!host.isNamed(name)) throw elsewhere(host);
      return tun;
    });
  }

  /**
   * With a filter in force the kernel takes it for one more queue from where it was in memory when it
   * was set, and then leaves the queue without (`tun_attach()` of `drivers/net/tun.c`, Linux 6.1 to 7).
   */
  beforeQueues({ tun }: OpenTun): void {
    if (this.#options.program) tun.setFilter(undefined);
  }

  afterQueues({ tun }: OpenTun): void {
    if (this.#options.program) tun.setFilter(this.#options.program);
  }

  /**
   * A program of the caller's stays in force, and so does what others with queues of it may have set, whose
   * queues are counted among ours besides. Without the right to load one, the kernel chooses on.
   */
  steerAway({ tun, host }: OpenTun, count: number, inUse: number): (() => void) | undefined {
    if (this.#steering || queueCount(host) !== inUse) return undefined;
    const program = spread(count);
    if (!program) return undefined;
    try {
      tun.setSteering(program);
    } finally {
      program.close();
    }
    return () => {
      endSteering(tun, this.lostCode);
    };
  }

  /** One that was made for this goes with its last queue again. */
  discard({ tun }: OpenTun): void {
    if (this.#options.persistent !== undefined) tun.setPersist(this.#wasPersistent);
  }

  close(): void {
    this.#steering?.close();
  }
}

/**
 * A tap interface as a backend: the host's network stack has an Ethernet interface, and what it
 * sends there comes to our receive ring, what we transmit it receives.
 */
export class Tap extends TunBackend {
  /**
   * Creates the interface, or attaches to the existing one of that name, and sets it up. When a step
   * fails, everything done before it is taken back.
   *
   * @param queueCount  How many queues it is to have in use.
   * @throws {VhostSystemError} The system refused: `request` says what, `code` why.
   * @throws {TypeError} or `RangeError`, naming the option that does not fit.
   */
  static open(options: TapOptions, queueCount = 1): Tap {
    const checked = checkTapOptions(options);
    return allOrNothing((undo) => {
      const opening = new NamedTap(checked, checked.multiQueue ?? queueCount > 1);
      undo.push(() => {
        opening.close();
      });
      const tap = new Tap(opening, opening.open());
      undo.push(() => {
        tap.discard();
      });
      tap.setQueueCount(queueCount);
      return tap;
    });
  }
}
