import { VhostError } from '../errors.js';
import { native } from '../native.js';
import type { NativeDescriptor, NativePages } from '../native.js';

/** How pages are to be mapped. */
export interface PagesOptions {
  /** Bytes, 1 to 2^32: V8 refuses longer external ArrayBuffers. Rounded up by the kernel to whole pages. */
  byteLength: number;
  /** Backed by a memfd, so that another Worker or process can map the same memory. */
  shared?: boolean;
  /** Advises the kernel to use huge pages (`MADV_HUGEPAGE`). */
  hugePages?: boolean;
}

/**
 * Zeroed memory outside V8's heap, at an address that never moves: what a vhost worker may be told
 * to read and write. `mmap(2)`, `MADV_DONTFORK`.
 */
export class Pages {
  readonly #native: NativePages;
  readonly #buffer: ArrayBuffer;
  readonly #address: bigint;
  #closed = false;

  /**
   * Maps new pages.
   *
   * @throws {VhostSystemError} `ENOMEM`: no memory, or too many mappings.
   */
  static allocate(options: PagesOptions): Pages {
    const { byteLength, shared = false, hugePages = false } = options;
    return new Pages(new native.Pages(byteLength, shared, hugePages));
  }

  /**
   * Maps pages that another isolate or process made with `shared: true`.
   *
   * @param fd  Number of a descriptor of theirs, see {@link Pages.descriptor}. It stays the caller's.
   * @throws {VhostSystemError} `EINVAL`: no memfd sealed against shrinking, or shorter than asked.
   */
  static map(fd: number, byteLength: number): Pages {
    const descriptor = native.descriptorDuplicate(fd);
    try {
      return new Pages(new native.Pages(byteLength, descriptor));
    } finally {
      descriptor.close();
    }
  }

  private constructor(pages: NativePages) {
    if (pages.buffer === undefined) throw new VhostError('ERR_VHOST_CLOSED', 'pages are closed');
    this.#native = pages;
    this.#buffer = pages.buffer;
    this.#address = pages.address;
  }

  /** The pages' only ArrayBuffer in this isolate. Has length 0 after {@link close}. */
  get buffer(): ArrayBuffer {
    return this.#buffer;
  }

  /** The host virtual address of the first byte. */
  get address(): bigint {
    return this.#address;
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * A new descriptor of shared pages, for {@link Pages.map} elsewhere; the caller closes it.
   * Undefined for private pages.
   */
  descriptor(): NativeDescriptor | undefined {
    return this.#native.memfd();
  }

  /**
   * Detaches the ArrayBuffer, so that every view of it has length 0, and lets go of the pages. They
   * are given back at once, unless a vhost descriptor still knows their address: then when it closes.
   * Their addresses are given to nobody else before the ArrayBuffer is collected: a job of Node's
   * that runs on another thread, begun with a view, then finds zeros there.
   */
  close(): void {
    this.#closed = true;
    this.#native.close();
  }

  /** The same as {@link close}: for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Copies `count` pieces of `length` bytes, which lie one behind the other from `from` on in `source`,
 * to `target`, the first to `at`, every other `stride` bytes behind the one before.
 *
 * @throws {RangeError} They reach beyond either end.
 */
export const { copyToStrides } = native;

/**
 * Writes zeros to `count` pieces of `length` bytes of `target`, the first at `at`, every other `stride`
 * bytes behind the one before.
 *
 * @throws {RangeError} They reach beyond its end.
 */
export const { clearStrides } = native;
