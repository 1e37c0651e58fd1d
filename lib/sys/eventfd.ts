import { native } from '../native.js';
import type { NativeDescriptor, NativeWatcher } from '../native.js';

/** An `eventfd(2)`: a counter in the kernel that one side adds to and the other waits for. */
export class EventFd {
  readonly #descriptor: NativeDescriptor;
  #watcher: NativeWatcher | undefined;

  /**
   * A new counter at 0; non-blocking, closed on exec.
   *
   * @throws {VhostSystemError} `EMFILE`, `ENFILE`: too many open files.
   */
  constructor() {
    this.#descriptor = native.eventfdCreate();
  }

  /** @internal For the rooms that hand it to the kernel. */
  get descriptor(): NativeDescriptor {
    return this.#descriptor;
  }

  /** The descriptor's number, -1 once closed. */
  get fd(): number {
    return this.#descriptor.fd;
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#descriptor.fd === -1;
  }

  /** Adds 1. A counter that is full already is as good: the other side has not looked yet. */
  signal(): void {
    native.eventfdSignal(this.#descriptor);
  }

  /** Takes the counter: how often it was signalled since the last time, 0 when it was not. */
  drain(): number {
    return native.eventfdDrain(this.#descriptor);
  }

  /**
   * Blocks this thread, its event loop included, until one of up to four was signalled. Drains none.
   *
   * @param milliseconds  0 to 1000: how long at the most; nothing ends it from outside.
   * @returns Bit *i*: the *i*-th was signalled. 0: none; a signal to the process ends the wait too.
   */
  static wait(milliseconds: number, ...eventfds: readonly EventFd[]): number {
    return native.eventfdWait(milliseconds, ...eventfds.map((one) => one.#descriptor));
  }

  /**
   * Calls `listener` on this environment's event loop whenever the counter was signalled, having
   * drained it. Keeps the process alive until {@link unwatch}, {@link unref} or {@link close}.
   *
   * @param listener  Gets the counter. What it throws becomes an uncaught exception.
   */
  watch(listener: (count: number) => void): void {
    this.unwatch();
    this.#watcher = new native.Watcher(this.#descriptor, listener);
  }

  /** Stops calling the listener. */
  unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  /** Lets the watch keep the process alive (the default). */
  ref(): void {
    this.#watcher?.ref();
  }

  /** Lets the process end although the watch goes on. */
  unref(): void {
    this.#watcher?.unref();
  }

  /** Stops the watch, then closes the descriptor. */
  close(): void {
    this.unwatch();
    this.#descriptor.close();
  }

  /** The same as {@link close}: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
