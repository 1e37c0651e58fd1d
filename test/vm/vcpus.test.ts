import assert from 'node:assert/strict';

import { describeWith } from '../support/requirements.js';
import type { Kvm, KvmVm } from '#lib/sys/kvm';
import { Pages } from '#lib/sys/pages';
import { Vcpu } from '#lib/sys/vcpu';
import type { VcpuBus, VcpuEnd } from '#lib/sys/vcpu';
import { openKvm } from '#lib/vmm/kvm-support';

/** Where the tables lie that KVM needs for itself on Intel's processors. */
const IDENTITY_MAP = 0xfffbc000;
const TSS = 0xfffbd000;

const RIP = 128;
const RFLAGS = 136;

/** Halts, with interrupts off, and says so when it was woken: `hlt; out 0x10, al; jmp`. */
const SLEEPER = { at: 0x1000, code: [0xf4, 0xe6, 0x10, 0xeb, 0xfb] } as const;
/** Leaves the kernel again and again: `out 0x80, al; jmp`. */
const TALKER = { at: 0x2000, code: [0xe6, 0x80, 0xeb, 0xfc] } as const;

const WORDS = 200;

/** Says which register of PCI's configuration it means: `mov eax, 0x80000800; mov dx, 0xcf8; out dx, eax`. */
const ADDRESS = 0x80000800;
const CHOOSER = {
  at: 0x3000,
  code: [
    ...[0x66, 0xb8, 0x00, 0x08, 0x00, 0x80, 0xba, 0xf8, 0x0c, 0x66, 0xef],
    ...[0xe6, 0x10, 0xf4, 0xeb, 0xfd], // out 0x10, al; hlt; jmp
  ],
} as const;
/** Reads it: `mov dx, 0xcfc; in eax, dx`. */
const READER = {
  at: 0x4000,
  code: [0xba, 0xfc, 0x0c, 0x66, 0xed, 0xe6, 0x80, 0xf4, 0xeb, 0xfd],
} as const;

describeWith(['kvm'], 'vCPUs', () => {
  let kvm: Kvm;
  let vm: KvmVm;
  let pages: Pages;

  beforeEach(() => {
    kvm = openKvm();
    vm = kvm.createVm();
    vm.setIdentityMapAddress(IDENTITY_MAP);
    vm.setTssAddress(TSS);
    vm.createIrqchip();
    pages = Pages.allocate({ byteLength: 0x10000 });
    const { address: hostAddress, buffer } = pages;
    const byteLength = BigInt(buffer.byteLength);
    vm.setMemory({ slot: 0, guestAddress: 0n, byteLength, hostAddress });
  });
  afterEach(() => {
    vm.close();
    pages.close();
    kvm.close();
  });

  /** One that is about to execute a program, in the mode in which processors begin. */
  function place(id: number, { at, code }: { at: number; code: readonly number[] }): Vcpu {
    new Uint8Array(pages.buffer).set(code, at);
    const vcpu = new Vcpu(kvm, vm, id);
    const sregs = vcpu.get('sregs');
    sregs.fill(0, 0, 8); // the base of the code segment,
    sregs.fill(0, 12, 14); // and its selector
    vcpu.set('sregs', sregs);
    const regs = new DataView(vcpu.get('regs').buffer);
    regs.setBigUint64(RIP, BigInt(at), true);
    regs.setBigUint64(RFLAGS, 2n, true);
    vcpu.set('regs', new Uint8Array(regs.buffer));
    vcpu.set('mpState', new Uint8Array(4));
    return vcpu;
  }

  it('that are halted are not woken by what others ask', async () => {
    const words = { sleeper: 0, talker: 0 };
    const vcpus = [place(0, SLEEPER), place(1, TALKER)];
    await run(vcpus, (bus, enough) => {
      bus.writePort = (port) => {
        if (port === 0x10) words.sleeper++;
        else if (++words.talker === WORDS) enough();
      };
      return vcpus.map((vcpu) => vcpu.start(bus));
    });
    assert.equal(words.sleeper, 0);
  }).timeout(10_000);

  it('have one register that chooses among those of PCI, whoever writes it, whoever looks', async () => {
    const log: string[] = [];
    const [first, second] = [place(0, CHOOSER), place(1, READER)] as const;
    await run([first, second], (bus, enough) => {
      const ends: Promise<VcpuEnd>[] = [];
      bus.readPort = (port) => log.push(`read ${port.toString(16)}`);
      bus.writePort = (port, _size, value) => {
        if (port === 0x10) ends.push(second.start(bus));
        else if (port === 0x80) enough();
        else log.push(`write ${port.toString(16)} ${value.toString(16)}`);
      };
      ends.push(first.start(bus));
      return ends;
    });
    assert.deepEqual(log, [`write cf8 ${ADDRESS.toString(16)}`, 'read cfc']);
  }).timeout(10_000);

  /** Lets them run until there was enough of it. */
  async function run(
    vcpus: readonly Vcpu[],
    begin: (bus: VcpuBus, enough: () => void) => readonly Promise<VcpuEnd>[],
  ): Promise<void> {
    let enough: () => void = () => undefined;
    const over = new Promise<void>((resolve) => (enough = resolve));
    const bus: VcpuBus = {
      readPort: () => 0xff,
      writePort: () => undefined,
      readMemory: () => 0xff,
      writeMemory: () => undefined,
    };
    const ends = begin(bus, enough);
    await over;
    for (const vcpu of vcpus) void vcpu.stop();
    for (const end of ends) assert.equal((await end).reason, 'stopped');
    for (const vcpu of vcpus) vcpu.close();
  }
});
