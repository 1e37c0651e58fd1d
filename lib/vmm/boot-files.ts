import { openImage } from './image-file.js';
import type { ImageFile } from './image-file.js';
import type { LinuxBoot } from './linux-boot.js';
import { openKernel } from './vmlinux.js';
import type { OpenKernel } from './vmlinux.js';
import { UndoList } from '../undo.js';

/** Which files, and what the kernel is told. */
export interface BootFilesOptions {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly commandLine: string;
}

/**
 * What a machine boots, open for as long as it may boot again: to keep it in memory would cost as much
 * of that for each machine.
 */
export class BootFiles {
  readonly boot: LinuxBoot;
  readonly #down = new UndoList();

  /**
   * @throws {VhostError} `ERR_VHOST_KERNEL_IMAGE`: no kernel that can be booted.
   * @throws {Error} A file can't be opened.
   */
  static async open(options: BootFilesOptions): Promise<BootFiles> {
    const kernel = await openKernel(options.kernel);
    try {
      const { initrd: path, commandLine } = options;
      const initrd = path === undefined ? undefined : await openImage(path);
      return new BootFiles(kernel, initrd, commandLine);
    } catch (error) {
      kernel.file.close();
      throw error;
    }
  }

  private constructor(
    { image, file }: OpenKernel,
    initrd: ImageFile | undefined,
    commandLine: string,
  ) {
    const content = initrd?.part(0, initrd.byteLength);
    this.boot = { kernel: image, initrd: content, commandLine };
    for (const one of [file, initrd]) {
      this.#down.push(() => {
        one?.close();
      });
    }
  }

  /** It can't be booted any more. A second time does nothing. */
  close(): void {
    this.#down.unwind();
  }
}
