import { subscribe } from 'node:diagnostics_channel';
import os from 'node:os';

import type { IoctlMessage } from '#lib/observe';

/** An ioctl as a test saw it: how often it came out so, and in which test first. */
export interface TracedIoctl {
  readonly request: string;
  /** The errno's name; empty when it worked. */
  readonly code: string;
  /** File and title. */
  readonly test: string;
  count: number;
}

/** What a run of tests asked one kernel. */
export interface IoctlTrace {
  readonly release: string;
  /** The feature bits that vhost-net offered, in hexadecimal. */
  features: string;
  readonly ioctls: readonly TracedIoctl[];
}

/** Collects every ioctl of this process. What tests do in processes of their own is not seen. */
export class IoctlTracer {
  /** File and title of the test that runs. */
  test = '';

  readonly #ioctls = new Map<string, TracedIoctl>();
  #features = 0n;

  constructor() {
    subscribe('vhost-net:ioctl', (message) => {
      this.#note(message as IoctlMessage);
    });
  }

  result(): IoctlTrace {
    const features = this.#features.toString(16);
    return { release: os.release(), features, ioctls: [...this.#ioctls.values()] };
  }

  #note({ request, result, error }: IoctlMessage): void {
    const code = error?.code ?? '';
    const key = [request, code, this.test].join('\n');
    const known = this.#ioctls.get(key);
    if (known) known.count++;
    else this.#ioctls.set(key, { request, code, test: this.test, count: 1 });
    if (request.startsWith('VHOST_GET_FEATURES') && typeof result === 'bigint') {
      this.#features |= result;
    }
  }
}
