import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import type { TestNetwork } from './network.js';

/** `tcpdump` on an interface of a namespace. */
export class Capture {
  readonly #folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vnt-capture-'));
  readonly #child: ReturnType<TestNetwork['start']>;

  /** Begins to capture what a filter lets through, and waits until it does. */
  static async start(network: TestNetwork, name: string, ...filter: string[]): Promise<Capture> {
    const capture = new Capture(network, name, filter);
    for await (const chunk of capture.#child.stderr.iterator({ destroyOnReturn: false })) {
      if (String(chunk).includes('listening on')) break;
    }
    capture.#child.stderr.resume();
    return capture;
  }

  private constructor(network: TestNetwork, name: string, filter: readonly string[]) {
    // As another user it could not write to the folder.
    const options = ['-i', name, '-w', this.#file, '-U', '--immediate-mode', '-Z', 'root'];
    this.#child = network.start('tcpdump', ...options, ...filter);
  }

  get #file(): string {
    return path.join(this.#folder, 'capture.pcap');
  }

  /** Ends it; what it saw, a frame a line, checksums looked at. */
  async end(): Promise<string[]> {
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGINT');
    await closed;
    const args = ['-r', this.#file, '-n', '-v', '-v', '-e'];
    const options = { encoding: 'utf8', stdio: 'pipe', maxBuffer: 1 << 28 } as const;
    const text = execFileSync('tcpdump', args, options);
    fs.rmSync(this.#folder, { recursive: true });
    // What belongs to one frame is indented.
    return text.replace(/\n\s+/g, ' ').split('\n').filter(Boolean);
  }
}

/** What `tcpdump` says of the checksums of frames: how many are right, and those that are not. */
export function checksums(frames: readonly string[]): { right: number; wrong: string[] } {
  return {
    right: frames.filter((frame) => /cksum 0x\w+ \(correct\)/.test(frame)).length,
    wrong: frames.filter((frame) => /bad cksum|\(incorrect/.test(frame)),
  };
}
