import type { BackendLink, LinkListener, LinkProperty } from './backend.js';
import type { CheckedLinkOptions } from './link-options.js';
import { LinkEvents, Links, formatMac } from '../sys/link.js';
import type {
  InterfaceAddress,
  LinkChange,
  NativeDescriptor,
  NativeLink,
  NativeLinkEvent,
} from '../sys/link.js';

/** In which order they are told. */
const PROPERTIES: readonly LinkProperty[] = ['name', 'up', 'carrier', 'mtu', 'mac'];

function toBackendLink({ index, name, up, carrier, mtu, mac, counters }: NativeLink): BackendLink {
  return { index, name, up, carrier, mtu, mac: formatMac(mac), counters };
}

/** An interface in its network namespace, through rtnetlink. */
export class HostInterface {
  readonly name: string;
  readonly index: number;
  /** What it was when it was found. */
  readonly found: NativeLink;

  readonly #links: Links;
  readonly #netns: NativeDescriptor | undefined;
  #events: LinkEvents | undefined;
  #last: BackendLink | undefined;

  /**
   * @param netns  The interface's namespace, which this object closes; undefined = this thread's.
   * @throws {VhostSystemError} `ENODEV`: no such interface.
   */
  constructor(nameOrIndex: string | number, netns: NativeDescriptor | undefined) {
    this.#netns = netns;
    try {
      this.#links = new Links(netns);
    } catch (error) {
      netns?.close();
      throw error;
    }
    try {
      this.found = this.#links.get(nameOrIndex);
    } catch (error) {
      this.close();
      throw error;
    }
    this.index = this.found.index;
    this.name = this.found.name;
  }

  /** What it is now. */
  link(): BackendLink {
    return toBackendLink(this.#links.get(this.index));
  }

  /** Whether it is the interface of that name now. */
  isNamed(name: string): boolean {
    return this.#links.get(name).index === this.index;
  }

  /** Its queues, where the kernel says how many there are: of a tap. */
  queueCount(): number | undefined {
    return this.#links.get(this.index).tap?.queueCount;
  }

  /** Changes only what differs: who finds it as it was asked for needs no right to change it. */
  configure({ interfaceAddresses, change }: CheckedLinkOptions): void {
    for (const address of interfaceAddresses) this.#ensureAddress(address);
    const { up, mtu, mac } = this.#links.get(this.index);
    const rest: LinkChange = {};
    if (change.mtu !== undefined && change.mtu !== mtu) rest.mtu = change.mtu;
    if (change.mac && formatMac(change.mac) !== formatMac(mac)) rest.mac = change.mac;
    if (change.up !== undefined && change.up !== up) rest.up = change.up;
    if (Object.keys(rest).length > 0) this.#links.set(this.index, rest);
  }

  /** Deletes it, if it is not gone already. */
  delete(): void {
    try {
      this.#links.delete(this.index);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENODEV') throw error;
    }
  }

  /** Tells of changes from now on. */
  watch(listener: LinkListener): void {
    this.#events?.close();
    this.#events = new LinkEvents(this.index, this.#netns, (events) => {
      this.#hear(events ?? this.#ask(), listener);
    });
    this.#last = this.link(); // after the subscription, so that nothing is missed between
  }

  /** Where some were lost: what it is now is what counts. */
  #ask(): NativeLinkEvent[] {
    try {
      return [this.#links.get(this.index)];
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENODEV') throw error;
      return [{ ...this.found, gone: true }];
    }
  }

  #hear(events: readonly NativeLinkEvent[], listener: LinkListener): void {
    for (const event of events) {
      if (!this.#events) return; // a listener closed it
      if (event.gone) {
        listener.onGone();
        continue;
      }
      const before = this.#last;
      const now = toBackendLink(event);
      this.#last = now;
      const changed = PROPERTIES.filter((property) => now[property] !== before?.[property]);
      if (changed.length > 0) listener.onChange(now, changed);
    }
  }

  close(): void {
    this.#events?.close();
    this.#events = undefined;
    this.#links.close();
    this.#netns?.close();
  }

  /** An address that it has already is what was asked for. */
  #ensureAddress(address: InterfaceAddress): void {
    try {
      this.#links.addAddress(this.index, address);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}
