/** How a vCPU stands at the 64-bit entry of Linux. */
import { bytesAt } from './guest-ram.js';
import { LAYOUT } from './linux-boot.js';
import type { BootEntry } from './linux-boot.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { CpuidLeaf } from '../sys/kvm.js';
import type { Vcpu } from '../sys/vcpu.js';

/** `struct kvm_regs` and `struct kvm_sregs` of x86-64; held against the header by the addon. */
const REGS = { length: 144, rsi: 32, rip: 128, rflags: 136 } as const;
const SREGS = { cs: 0, ds: 24, es: 48, ss: 120, tr: 144, gdt: 192, idt: 208 } as const;
const CONTROL = { cr0: 224, cr3: 240, cr4: 248, efer: 264 } as const;
const FPU = { length: 416, fcw: 128, mxcsr: 408 } as const;

const CR0 = 0x80000011n; // PG, ET, PE
const CR4_PAE = 0x20n;
const EFER_LONG = 0x500n; // LME, LMA
/** Reserved bit 1 is always one. Interrupts are off. */
const RFLAGS = 0x2n;

/** `arch/x86/include/asm/segment.h`: the selectors that the boot protocol names. */
const CODE = { selector: 0x10, descriptor: 0x00af9b000000ffffn } as const;
const DATA = { selector: 0x18, descriptor: 0x00cf93000000ffffn } as const;
const TASK = { selector: 0x20, descriptor: 0x008f8b000000ffffn } as const;

const PRESENT_WRITABLE = 0x3n;
const LARGE = 0x80n;
const PAGE = 4096;
const LARGE_PAGE = 2 ** 21;
const ENTRIES = 512;
/** All that the 32-bit hole and the RAM below it are. */
const MAPPED_GIB = 4;

const MSR_MISC_ENABLE = 0x1a0;
const MSR_MTRR_DEFAULT = 0x2ff;
/** String instructions may be fast. */
const FAST_STRINGS = 1n;
/** MTRRs are on, and what they do not name is write-back. */
const WRITE_BACK = 0x806n;

/** Local vector table of the local APIC. */
const LVT0 = 0x350;
const LVT1 = 0x360;
/** Masked as well: nobody has told the PICs yet which vectors are whose. */
const EXT_INT = 0x10700;
const NMI = 0x400;

/** Descriptors, and an identity map of the first 4 GiB in pages of 2 MiB. */
export function writeCpuTables(memory: GuestMemory): void {
  const gdt = words(memory, LAYOUT.gdt, 5);
  gdt.set([0n, 0n, CODE.descriptor, DATA.descriptor, TASK.descriptor]);
  const upper = LAYOUT.pageTables + PAGE;
  words(memory, LAYOUT.pageTables, ENTRIES)[0] = BigInt(upper) | PRESENT_WRITABLE;
  const pointers = words(memory, upper, ENTRIES);
  for (let gib = 0; gib < MAPPED_GIB; gib++) {
    const directory = upper + (1 + gib) * PAGE;
    pointers[gib] = BigInt(directory) | PRESENT_WRITABLE;
    const entries = words(memory, directory, ENTRIES);
    for (let entry = 0; entry < ENTRIES; entry++) {
      const address = (gib * ENTRIES + entry) * LARGE_PAGE;
      entries[entry] = BigInt(address) | PRESENT_WRITABLE | LARGE;
    }
  }
}

function words(memory: GuestMemory, address: number, count: number): BigUint64Array {
  const bytes = bytesAt(memory, address, 8 * count);
  return new BigUint64Array(bytes.buffer, bytes.byteOffset, count);
}

/** Makes the first vCPU ready to begin at the kernel's entry. */
export function setUpBootCpu(vcpu: Vcpu, entry: BootEntry): void {
  const regs = new DataView(new ArrayBuffer(REGS.length));
  regs.setBigUint64(REGS.rsi, BigInt(entry.zeroPage), true);
  regs.setBigUint64(REGS.rip, BigInt(entry.instruction), true);
  regs.setBigUint64(REGS.rflags, RFLAGS, true);
  vcpu.set('regs', new Uint8Array(regs.buffer));
  vcpu.set('sregs', longMode(vcpu.get('sregs')));
}

function longMode(sregs: Uint8Array): Uint8Array {
  const view = new DataView(sregs.buffer, sregs.byteOffset, sregs.byteLength);
  writeSegment(view, SREGS.cs, CODE);
  for (const at of [SREGS.ds, SREGS.es, SREGS.ss]) writeSegment(view, at, DATA);
  writeSegment(view, SREGS.tr, TASK);
  view.setBigUint64(SREGS.gdt, BigInt(LAYOUT.gdt), true);
  view.setUint16(SREGS.gdt + 8, 5 * 8 - 1, true);
  view.setBigUint64(SREGS.idt, 0n, true);
  view.setUint16(SREGS.idt + 8, 0, true);
  view.setBigUint64(CONTROL.cr0, CR0, true);
  view.setBigUint64(CONTROL.cr3, BigInt(LAYOUT.pageTables), true);
  view.setBigUint64(CONTROL.cr4, CR4_PAE, true);
  view.setBigUint64(CONTROL.efer, EFER_LONG, true);
  return sregs;
}

/** `struct kvm_segment` of a descriptor whose base is 0. */
function writeSegment(
  view: DataView,
  at: number,
  segment: { readonly selector: number; readonly descriptor: bigint },
): void {
  const access = Number((segment.descriptor >> 40n) & 0xffn);
  const flags = Number((segment.descriptor >> 52n) & 0xfn);
  const granular = (flags & 8) !== 0;
  view.setBigUint64(at, 0n, true);
  view.setUint32(at + 8, granular ? 0xffffffff : 0xffff, true);
  view.setUint16(at + 12, segment.selector, true);
  const fields = [access & 0xf, access >> 7, (access >> 5) & 3, (flags >> 2) & 1];
  const more = [(access >> 4) & 1, (flags >> 1) & 1, granular ? 1 : 0, flags & 1, 0, 0];
  [...fields, ...more].forEach((value, index) => {
    view.setUint8(at + 14 + index, value);
  });
}

/** What every vCPU needs, the first and those that it starts. */
export function setUpAnyCpu(vcpu: Vcpu, leaves: readonly CpuidLeaf[]): void {
  vcpu.setCpuid(leaves);
  vcpu.setMsrs([
    [MSR_MISC_ENABLE, FAST_STRINGS],
    [MSR_MTRR_DEFAULT, WRITE_BACK],
  ]);
  const fpu = new DataView(new ArrayBuffer(FPU.length));
  fpu.setUint16(FPU.fcw, 0x37f, true);
  fpu.setUint32(FPU.mxcsr, 0x1f80, true);
  vcpu.set('fpu', new Uint8Array(fpu.buffer));
  vcpu.set('lapic', wired(vcpu.get('lapic')));
}

/** The PICs reach the first pin of the local APIC, NMIs the second. */
function wired(lapic: Uint8Array): Uint8Array {
  const view = new DataView(lapic.buffer, lapic.byteOffset, lapic.byteLength);
  view.setUint32(LVT0, EXT_INT, true);
  view.setUint32(LVT1, NMI, true);
  return lapic;
}
