import { EventEmitter } from 'node:events';

import type { PortEvents } from '#lib/port/events';
import type { Frame } from '#lib/port/frame';
import type { FabricPort } from '#lib/switch/fabric';

/** A frame that tells whether it was kept. */
export class SoftFrame {
  held = false;
  readonly length: number;

  constructor(readonly first: Uint8Array) {
    this.length = first.length;
  }

  hold(): this {
    this.held = true;
    return this;
  }

  release(): void {
    this.held = false;
  }
}

/** A frame from one address to another, of this many bytes. */
export function softFrame(to: readonly number[], from: readonly number[], length = 60): SoftFrame {
  const bytes = new Uint8Array(length);
  bytes.set([...to, ...from, 0x88, 0xb5]);
  return new SoftFrame(bytes);
}

/** A port without a device: what it is given is in a list. */
export class SoftPort extends EventEmitter<PortEvents> implements FabricPort {
  readonly sent: unknown[] = [];
  readonly longestFrame = 1518;
  readonly queues = [this];
  closed = false;
  paused = false;
  /** Frames that fit in its ring until somebody empties it. */
  room = Infinity;

  forward(frame: Frame): boolean {
    if (this.closed) throw new Error('the port is closed');
    if (this.room === 0) return false;
    this.room--;
    this.sent.push(frame);
    return true;
  }

  receive(...frames: SoftFrame[]): void {
    this.emit('receive', Object.assign(frames, { queue: 0 }) as never);
  }

  /** Makes room again, and says so. */
  empty(room: number): void {
    this.room = room;
    this.emit('drain', 0);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }
}
