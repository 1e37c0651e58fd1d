import assert from 'node:assert/strict';

import type { CpuidLeaf } from '#lib/sys/kvm';
import { cpuidOf, withoutXsave } from '#lib/vmm/guest-cpuid';

const full = (leaf: number, subleaf = 0): CpuidLeaf => ({
  ...{ leaf, subleaf, flags: 0, eax: 0xffffffff },
  ...{ ebx: 0xffffffff, ecx: 0xffffffff, edx: 0xffffffff },
});

describe('cpuidOf', () => {
  const leaves = [
    full(1),
    full(4),
    full(0xb),
    full(0x80000008),
    full(0x8000001e),
    full(0x40000001),
  ];
  const of = (id: number, cpus: number) => {
    const answers = cpuidOf(leaves, { id, cpus });
    return (leaf: number, subleaf = 0) => {
      const found = answers.find((one) => one.leaf === leaf && one.subleaf === subleaf);
      return found ?? assert.fail(`leaf ${leaf.toString(16)}`);
    };
  };

  it('gives each processor the number of its local APIC, wherever it can be read', () => {
    const third = of(2, 3);
    assert.equal(third(1).ebx >>> 24, 2);
    assert.equal(third(0xb).edx, 2);
    assert.equal(third(0xb, 1).edx, 2);
    assert.equal(third(0x8000001e).eax, 2);
  });

  it('makes all of them cores of one package, with a thread each', () => {
    const first = of(0, 3);
    assert.equal((first(1).ebx >>> 16) & 0xff, 4, 'numbers for as many');
    assert.deepEqual([first(0xb).eax, first(0xb).ebx], [0, 1], 'threads of a core');
    assert.deepEqual([first(0xb, 1).eax, first(0xb, 1).ebx], [2, 3], 'cores of the package');
    assert.equal(first(0xb, 2).ecx & 0xff00, 0, 'no further level');
    assert.equal(first(4).eax >>> 26, 3);
    assert.equal(first(0x80000008).ecx, (2 << 12) | 2);
  });

  it('says that it is alone when it is', () => {
    const only = of(0, 1);
    assert.equal(only(1).edx & (1 << 28), 0);
    assert.equal((only(1).ebx >>> 16) & 0xff, 1);
    assert.notEqual(of(0, 2)(1).edx & (1 << 28), 0);
  });

  it('shares the cache of the third level, and no other', () => {
    const cache = (level: number) => ({ ...full(4), eax: 1 | (level << 5) });
    const [first, third] = cpuidOf([cache(1), cache(3)], { id: 0, cpus: 4 });
    assert.equal(((first?.eax ?? 0) >>> 14) & 0xfff, 0);
    assert.equal(((third?.eax ?? 0) >>> 14) & 0xfff, 3);
  });

  it("has AMD's processors say that several are cores, and not threads", () => {
    const told = (vendor: string, ecx: number, cpus: number) => {
      const zero = { ...full(0), ecx: Buffer.from(vendor.slice(-4)).readUInt32LE() };
      const answers = cpuidOf([zero, { ...full(0x80000001), ecx }], { id: 0, cpus });
      return answers.find(({ leaf }) => leaf === 0x80000001)?.ecx;
    };
    assert.equal(told('AuthenticAMD', 0x20, 2), 0x22);
    assert.equal(told('HygonGenuine', 0x20, 2), 0x22);
    assert.equal(told('AuthenticAMD', 0x22, 1), 0x20);
    assert.equal(told('GenuineIntel', 0x21, 2), 0x21, "Intel's have no such bit");
  });

  it('has no cache behind the last', () => {
    const last = { ...full(4, 4), ...{ eax: 0, ebx: 0, ecx: 0, edx: 0 } };
    assert.deepEqual(cpuidOf([last], { id: 0, cpus: 4 }), [last]);
  });

  it("describes the processors in one leaf, whatever KVM says of the host's own", () => {
    const answers = cpuidOf([full(0xb), full(0x1f), full(0x80000026)], { id: 1, cpus: 2 });
    assert.deepEqual(
      answers.map(({ leaf, subleaf }) => [leaf, subleaf]),
      [0, 1, 2].map((subleaf) => [0xb, subleaf]),
    );
  });

  it('leaves everything else as KVM says it', () => {
    assert.deepEqual(of(1, 2)(0x40000001), full(0x40000001));
  });
});

describe('withoutXsave', () => {
  it('hides XSAVE and what needs it, and nothing else', () => {
    const full = { subleaf: 0, flags: 0, ...{ eax: 7, ebx: 0xffffffff, ecx: 0xffffffff } };
    const leaves = [1, 7, 0xd, 0x40000000].map((leaf) => ({ ...full, leaf, edx: 0xffffffff }));
    const [one, seven, other, ...more] = withoutXsave(leaves);
    assert.deepEqual(more, []);
    assert.equal((one?.ecx ?? 0) & (1 << 26), 0, 'XSAVE');
    assert.equal((one?.ecx ?? 0) & (1 << 28), 0, 'AVX');
    assert.notEqual((one?.ecx ?? 0) & (1 << 25), 0, 'AES stays');
    assert.equal((seven?.ebx ?? 0) & (1 << 5), 0, 'AVX2');
    assert.notEqual((seven?.ebx ?? 0) & (1 << 7), 0, 'SMEP stays');
    assert.deepEqual(other, leaves[3]);
  });
});
