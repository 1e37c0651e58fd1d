/** The binary statistics of KVM: `Documentation/virt/kvm/api.rst` 4.133 `KVM_GET_STATS_FD`. */
import fs from 'node:fs';

import type { NativeDescriptor } from '../native.js';

/** Offsets of `struct kvm_stats_header` and of `struct kvm_stats_desc`. */
const HEADER = { length: 24, nameLength: 4, count: 8, descriptors: 16, data: 20 } as const;
const ROW = { length: 16, offset: 8 } as const;

/** One counter, or the first of several under one name. */
interface Counter {
  readonly name: string;
  readonly offset: number;
}

/** Which counters there are, and where. */
interface Layout {
  readonly counters: readonly Counter[];
  readonly data: number;
  readonly length: number;
}

/** Reads the counters of a virtual machine or a vCPU, also while it runs. */
export class KvmStatistics {
  readonly #descriptor: NativeDescriptor;
  #layout: Layout | undefined;

  /** @param descriptor  Of `KVM_GET_STATS_FD`; closed by {@link close}. */
  constructor(descriptor: NativeDescriptor) {
    this.#descriptor = descriptor;
  }

  /** All counters, by the kernel's names; of histograms only the first bucket. */
  read(): Record<string, number> {
    // It never changes, and a guest that is about to begin need not wait for it.
    const { counters, data, length } = (this.#layout ??= this.#readLayout());
    const values = this.#read(data, length);
    const entries = counters.map(({ name, offset }) => [
      name,
      Number(values.getBigUint64(offset, true)),
    ]);
    return Object.fromEntries(entries) as Record<string, number>;
  }

  close(): void {
    this.#descriptor.close();
  }

  #readLayout(): Layout {
    const header = this.#read(0, HEADER.length);
    const nameLength = header.getUint32(HEADER.nameLength, true);
    const count = header.getUint32(HEADER.count, true);
    const rows = this.#read(
      header.getUint32(HEADER.descriptors, true),
      count * (ROW.length + nameLength),
    );
    const counters = Array.from({ length: count }, (_, index) =>
      readRow(rows, index * (ROW.length + nameLength), nameLength),
    );
    const length = Math.max(0, ...counters.map(({ offset }) => offset + 8));
    return { counters, data: header.getUint32(HEADER.data, true), length };
  }

  #read(position: number, length: number): DataView {
    const bytes = new Uint8Array(length);
    const { fd } = this.#descriptor;
    for (let done = 0; done < length;) {
      const count = fs.readSync(fd, bytes, done, length - done, position + done);
      if (count === 0) break;
      done += count;
    }
    return new DataView(bytes.buffer);
  }
}

function readRow(rows: DataView, at: number, nameLength: number): Counter {
  const bytes = Buffer.from(rows.buffer, at + ROW.length, nameLength);
  const end = bytes.indexOf(0);
  const name = bytes.toString('latin1', 0, end < 0 ? nameLength : end);
  return { name, offset: rows.getUint32(at + ROW.offset, true) };
}
