/** What `cpuid` answers to a guest. */
import type { CpuidLeaf } from '../sys/kvm.js';

/** `KVM_CPUID_FLAG_SIGNIFCANT_INDEX`: the sub-leaf counts. */
const SUBLEAF_COUNTS = 1;

/** Leaf 1: the local APIC's timer can be told the time at which to go off. */
const TSC_DEADLINE = 1 << 24;
/** There is more to be asked about the hypervisor, such as a clock that needs no calibration. */
const IN_HYPERVISOR = 0x80000000;
/** The package has several processors. */
const SEVERAL = 1 << 28;

/** Leaf 0x80000001 of AMD's: these several are cores, and not threads. */
const CMP_LEGACY = 1 << 1;
/** The last four letters of `AuthenticAMD` and `HygonGenuine`, in leaf 0. */
const AMD_LIKE: readonly number[] = [0x444d4163, 0x656e6975];

/** Leaf 0xb: what a level of the topology is. */
const LEVEL = { thread: 1 << 8, core: 2 << 8 } as const;

/** Leaves that describe the topology in levels: the common one, Intel's newer one, AMD's newer one. */
const TOPOLOGIES: readonly number[] = [0xb, 0x1f, 0x80000026];

/** Which processor of how many asks. */
export interface CpuPlace {
  readonly id: number;
  readonly cpus: number;
}

/**
 * What one processor answers: all are cores of one package, with a thread each and a common cache of
 * the third level. What KVM reports of the host's own topology is not the guest's.
 *
 * Source: Intel SDM volume 2 "CPUID"; AMD APM volume 3 appendix E.
 */
export function cpuidOf(leaves: readonly CpuidLeaf[], place: CpuPlace): CpuidLeaf[] {
  const bits = Math.ceil(Math.log2(place.cpus));
  const others = leaves.filter(({ leaf }) => !TOPOLOGIES.includes(leaf));
  const amd = leaves.some(({ leaf, ecx }) => leaf === 0 && AMD_LIKE.includes(ecx));
  const own = others.map((leaf) => {
    const legacy = amd && leaf.leaf === 0x80000001 ? cmpLegacy(leaf, place) : {};
    return { ...leaf, ...ownRegisters(leaf, place, bits), ...legacy };
  });
  return others.length === leaves.length ? own : [...own, ...topology(place, bits)];
}

function ownRegisters(leaf: CpuidLeaf, { id, cpus }: CpuPlace, bits: number): Partial<CpuidLeaf> {
  const { eax, ebx, ecx, edx } = leaf;
  switch (leaf.leaf) {
    case 1:
      return {
        ebx: ((ebx & 0xffff) | ((2 ** bits) << 16) | (id << 24)) >>> 0,
        ecx: (ecx | IN_HYPERVISOR | TSC_DEADLINE) >>> 0,
        edx: (cpus > 1 ? edx | SEVERAL : edx & ~SEVERAL) >>> 0,
      };
    case 4:
      // The one behind the last, of no type, is empty. So is the first one of AMD's.
      if ((eax & 0x1f) === 0) return {};
      return { eax: (sharing(eax, bits) | ((2 ** bits - 1) << 26)) >>> 0 };
    case 0x80000008:
      return { ecx: (bits << 12) | (cpus - 1) };
    case 0x8000001d:
      return { eax: sharing(eax, bits) };
    case 0x8000001e:
      return { eax: id, ebx: id, ecx: 0 };
    default:
      return {};
  }
}

function cmpLegacy({ ecx }: CpuidLeaf, { cpus }: CpuPlace): Partial<CpuidLeaf> {
  return { ecx: (cpus > 1 ? ecx | CMP_LEGACY : ecx & ~CMP_LEGACY) >>> 0 };
}

/** A cache's description, with whom of this guest it is shared: bits 14 to 25, less one. */
function sharing(eax: number, bits: number): number {
  const level = (eax >> 5) & 7;
  return (eax & 0x3fff) | (level === 3 ? (2 ** bits - 1) << 14 : 0);
}

/** Of each level: by how many bits to shift the number away, how many there are, what it is. */
function topology({ id, cpus }: CpuPlace, bits: number): CpuidLeaf[] {
  const level = (subleaf: number, eax: number, ebx: number, type: number): CpuidLeaf => ({
    ...{ leaf: 0xb, subleaf, flags: SUBLEAF_COUNTS },
    ...{ eax, ebx, ecx: subleaf | type, edx: id },
  });
  return [level(0, 0, 1, LEVEL.thread), level(1, bits, cpus, LEVEL.core), level(2, 0, 0, 0)];
}

/** Feature bits of XSAVE, and of all that needs it, by leaf and register. */
const NEEDS_XSAVE: Readonly<Record<number, Partial<Record<'ebx' | 'ecx' | 'edx', number>>>> = {
  1: { ecx: bits(12, 26, 27, 28, 29) }, // FMA, XSAVE, OSXSAVE, AVX, F16C
  7: {
    ebx: bits(5, 14, 16, 17, 21, 26, 27, 28, 30, 31), // AVX2, MPX, AVX-512
    ecx: bits(1, 3, 4, 6, 9, 10, 11, 12, 14), // AVX-512, PKU, OSPKE, VAES, VPCLMULQDQ
    edx: bits(2, 3, 8, 22, 23, 24, 25), // AVX-512, AMX
  },
  0x80000001: { ecx: bits(11, 16) }, // XOP, FMA4
};

function bits(...numbers: readonly number[]): number {
  return numbers.reduce((mask, bit) => mask | (1 << bit), 0);
}

/**
 * The leaves without XSAVE: where KVM itself runs under QEMU's emulation, a guest's `xsetbv` does not
 * reach it, the sizes in leaf 0xd are wrong, and Linux 7 does not survive that.
 */
export function withoutXsave(leaves: readonly CpuidLeaf[]): CpuidLeaf[] {
  const kept = leaves.filter(({ leaf, subleaf }) => leaf !== 0xd && !(leaf === 7 && subleaf > 0));
  return kept.map((leaf) => {
    const { ebx = 0, ecx = 0, edx = 0 } = NEEDS_XSAVE[leaf.leaf] ?? {};
    const clear = (value: number, mask: number) => (value & ~mask) >>> 0;
    return {
      ...leaf,
      ebx: clear(leaf.ebx, ebx),
      ecx: clear(leaf.ecx, ecx),
      edx: clear(leaf.edx, edx),
    };
  });
}
