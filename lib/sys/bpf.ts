import { native } from '../native.js';
import type { NativeDescriptor } from '../native.js';

/** One instruction of eBPF, as `struct bpf_insn` has it. */
export interface EbpfInstruction {
  readonly code: number;
  /** Registers, 0 to 10. */
  readonly dst?: number;
  readonly src?: number;
  readonly offset?: number;
  readonly immediate?: number;
}

/**
 * Loads an eBPF program that is run for frames (`BPF_PROG_TYPE_SOCKET_FILTER`); the caller closes it.
 *
 * @throws {VhostSystemError} `EPERM`: no CAP_BPF, or, where `kernel.unprivileged_bpf_disabled` is 0, no
 * program that others may load; `EACCES`, `EINVAL`: the kernel can't show it to be harmless.
 */
export function loadSocketFilter(instructions: readonly EbpfInstruction[]): NativeDescriptor {
  const bytes = Buffer.alloc(8 * instructions.length);
  instructions.forEach(({ code, dst = 0, src = 0, offset = 0, immediate = 0 }, i) => {
    bytes.writeUInt8(code, 8 * i);
    bytes.writeUInt8((src << 4) | dst, 8 * i + 1);
    bytes.writeInt16LE(offset, 8 * i + 2);
    bytes.writeInt32LE(immediate, 8 * i + 4);
  });
  return native.bpfLoadSocketFilter(bytes);
}

/** Where `struct __sk_buff` of `<linux/bpf.h>` has the hash of the flow. */
const HASH_AT = 68;

/** A program that chooses one of the first `count` queues by the hash of the flow. */
export function spreadOver(count: number): NativeDescriptor {
  return loadSocketFilter([
    { code: 0x61, dst: 0, src: 1, offset: HASH_AT }, // r0 = hash
    { code: 0x94, dst: 0, immediate: count }, // r0 %= count
    { code: 0x95 }, // return r0
  ]);
}
