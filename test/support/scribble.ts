import fs from 'node:fs';

import type { EventFd } from '#lib/sys/eventfd';
import { VhostNet } from '#lib/sys/vhost-net';
import type { VringAddresses } from '#lib/sys/vhost-net';

/** Bytes of one descriptor, and where its fields lie. `struct vring_desc`. */
const DESC = { bytes: 16, address: 0, length: 8, flags: 12, next: 14 };

/**
 * Writes into rings behind the back of their driver, as a bug would: it listens where they lie while
 * they are set up, and reaches them through proc(5).
 */
export class Scribbler {
  readonly #rings: VringAddresses[] = [];
  readonly #kicks: (EventFd | undefined)[] = [];
  readonly #restore: () => void;

  constructor() {
    const rings = this.#rings;
    const kicks = this.#kicks;
    const { setVringAddr, setVringKick } = Object.getOwnPropertyDescriptors(VhostNet.prototype);
    VhostNet.prototype.setVringAddr = function (index, parts) {
      rings[index] = parts;
      setVringAddr.value?.call(this, index, parts);
    };
    VhostNet.prototype.setVringKick = function (index, eventfd) {
      kicks[index] = eventfd;
      setVringKick.value?.call(this, index, eventfd);
    };
    this.#restore = () => {
      Object.defineProperties(VhostNet.prototype, { setVringAddr, setVringKick });
    };
  }

  close(): void {
    this.#restore();
  }

  /** Wakes the worker, which then sees what was scribbled. */
  kick(ring: number): void {
    this.#kicks[ring]?.signal();
  }

  #ring(index: number): VringAddresses {
    const parts = this.#rings[index];
    if (!parts) throw new Error(`vring ${String(index)} was not set up yet`);
    return parts;
  }

  /** Moves the avail index. */
  jump(ring: number, by: number): void {
    const at = this.#ring(ring).avail + 2n;
    write(at, word(readWord(at) + by));
  }

  /** Every avail entry names this head. */
  fillAvail(ring: number, size: number, head: number): void {
    write(
      this.#ring(ring).avail + 4n,
      Buffer.concat(Array.from({ length: size }, () => word(head))),
    );
  }

  /** Changes fields of every descriptor. */
  descriptors(
    ring: number,
    size: number,
    fields: { address?: bigint; length?: number; flags?: number; next?: (id: number) => number },
  ): void {
    const table = this.#ring(ring).desc;
    for (let id = 0; id < size; id++) {
      const at = table + BigInt(id * DESC.bytes);
      if (fields.address !== undefined) write(at + BigInt(DESC.address), quad(fields.address));
      if (fields.length !== undefined) write(at + BigInt(DESC.length), double(fields.length));
      if (fields.flags !== undefined) write(at + BigInt(DESC.flags), word(fields.flags));
      if (fields.next) write(at + BigInt(DESC.next), word(fields.next(id)));
    }
  }
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value & 0xffff);
  return bytes;
}

function double(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function quad(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

function withMemory<T>(body: (fd: number) => T): T {
  const fd = fs.openSync('/proc/self/mem', 'r+');
  try {
    return body(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function write(address: bigint, bytes: Buffer): void {
  withMemory((fd) => fs.writeSync(fd, bytes, 0, bytes.length, Number(address)));
}

function readWord(address: bigint): number {
  const bytes = Buffer.alloc(2);
  withMemory((fd) => fs.readSync(fd, bytes, 0, 2, address));
  return bytes.readUInt16LE();
}
