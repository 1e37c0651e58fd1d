import { EventEmitter } from 'node:events';

import { BootFiles } from './boot-files.js';
import { Console } from './console.js';
import { GuestLimits } from './guest-limits.js';
import { GuestRam, PCI_HOLE } from './guest-ram.js';
import { KvmDoorbells, KvmInterrupts } from './kvm-platform.js';
import { openKvm } from './kvm-support.js';
import { machineBuses } from './machine-buses.js';
import type { MachineBuses } from './machine-buses.js';
import { failed } from './machine-end.js';
import type { MachineEnd } from './machine-end.js';
import type { MachineEvents } from './machine-events.js';
import { publishMachine } from './machine-observation.js';
import { Counters } from './machine-statistics.js';
import type { MachineStatistics } from './machine-statistics.js';
import type { NetworkCard } from './network-card.js';
import { NetworkCards } from './network-cards.js';
import { checkMachineOptions } from './options.js';
import type { CheckedMachineOptions, MachineOptions } from './options.js';
import { PciBus } from './pci-bus.js';
import { PluggedNets } from './plugged-nets.js';
import { PowerCycle } from './power-cycle.js';
import type { GuestFault } from './guest-repair.js';
import { VhostError } from '../errors.js';
import { callListeners } from '../listeners.js';
import type { Kvm } from '../sys/kvm.js';
import type { VcpuEnd } from '../sys/vcpu.js';
import type { WorkerThread } from '../sys/worker-thread.js';
import { allOrNothing } from '../undo.js';
import type { UndoList } from '../undo.js';

/** What is to be done when the vCPUs have come to an end. */
type Intent = MachineEnd | 'reboot';

/**
 * A virtual machine: KVM, an unmodified Linux, and network cards whose frames, doorbells and interrupts
 * stay in the kernel. See {@link Machine.boot}.
 *
 * Down: vCPUs stopped; rings taken back, doorbells and interrupts detached; virtual machine closed;
 * cards with their workers and backends; memory; KVM.
 */
export class Machine extends EventEmitter<MachineEvents> {
  readonly #options: CheckedMachineOptions;
  readonly #kvm: Kvm;
  readonly #ram: GuestRam;
  readonly #files: BootFiles;
  readonly #interrupts = new KvmInterrupts();
  readonly #doorbells = new KvmDoorbells();
  readonly #bus = new PciBus(PCI_HOLE);
  readonly #cards: NetworkCards;
  readonly #console: Console;
  readonly #buses: MachineBuses;
  readonly #counters = new Counters();
  readonly #limits: GuestLimits;
  readonly #down: UndoList;
  readonly #plugged: PluggedNets;
  readonly #ended: Promise<MachineEnd>;
  #settle: (end: MachineEnd) => void = () => undefined;
  #cycle: PowerCycle | undefined;
  #intent: Intent | undefined;
  #end: MachineEnd | undefined;

  /**
   * Boots a machine. When the options fit, backends that are open are the machine's, and closed whether
   * it boots or not.
   *
   * @returns As soon as its first vCPU runs: the guest is about to begin.
   * @throws {TypeError} or `RangeError`: an option does not fit, or the kernel not into the memory.
   * @throws {VhostError} `ERR_VHOST_KERNEL_IMAGE`: no kernel that can be booted, with the reason;
   * `ERR_VHOST_UNSUPPORTED`: KVM lacks something.
   * @throws {Error} A file can't be opened.
   * @throws {VhostSystemError} KVM or a backend can't be opened, or there is no thread for a vCPU.
   */
  static async boot(options: MachineOptions): Promise<Machine> {
    const checked = checkMachineOptions(options);
    const { signal, net } = checked;
    const plugged = new PluggedNets(net);
    let files: BootFiles | undefined;
    try {
      signal?.throwIfAborted();
      const open = (files = await BootFiles.open(checked));
      signal?.throwIfAborted();
      await plugged.open(signal);
      signal?.throwIfAborted();
      const machine = allOrNothing((undo) => new Machine(undo, checked, open, plugged));
      await machine.#begun();
      return machine;
    } catch (error) {
      try {
        files?.close();
      } finally {
        await plugged.takeBack();
      }
      throw error;
    }
  }

  private constructor(
    undo: UndoList,
    options: CheckedMachineOptions,
    files: BootFiles,
    plugged: PluggedNets,
  ) {
    super();
    this.#down = undo;
    this.#plugged = plugged;
    this.#options = options;
    this.#files = files;
    undo.push(() => {
      files.close();
    });
    this.#limits = new GuestLimits(options.eventLoopShare);
    this.#ended = new Promise((resolve) => (this.#settle = resolve));
    this.#kvm = openKvm();
    undo.push(() => {
      this.#kvm.close();
    });
    this.#ram = new GuestRam(options.memoryMiB);
    undo.push(() => {
      this.#ram.close();
    });
    this.#console = this.#openConsole(undo);
    this.#cards = this.#openCards(undo);
    this.#buses = machineBuses({
      ...{ pci: this.#bus, serial: this.#console.serial },
      reset: () => {
        this.#reset();
      },
      powerOff: () => {
        this.#finish({ reason: 'poweroff', status: 0 });
      },
      exit: (status) => {
        this.#finish({ reason: 'exit', status });
      },
    });
    this.#powerOn();
    this.#listen(options.signal, undo);
  }

  /** Whether its vCPUs run. */
  get running(): boolean {
    return this.#cycle !== undefined;
  }

  /** The kernel threads that move the frames of its cards; undefined where it can't be known. */
  get workers(): readonly (WorkerThread | undefined)[] {
    return this.#cards.workers;
  }

  /** How it has ended, once it has and everything is taken down. */
  wait(): Promise<MachineEnd> {
    return this.#ended;
  }

  /**
   * Ends the machine wherever the guest is, and takes everything down.
   *
   * @returns How it has ended: it may have been faster.
   */
  stop(): Promise<MachineEnd> {
    this.#finish({ reason: 'stopped', status: 0 });
    return this.#ended;
  }

  /**
   * Power off and on again: the guest is not asked. Cards keep their backends and addresses.
   *
   * @throws {VhostError} `ERR_VHOST_CLOSED`: it has ended.
   */
  reboot(): void {
    if (!this.#cycle) throw new VhostError('ERR_VHOST_CLOSED', 'the machine has ended');
    this.#finish('reboot');
  }

  /** Types at the guest's console. */
  type(input: string | Uint8Array): void {
    this.#console.serial.receive(typeof input === 'string' ? Buffer.from(input) : input);
  }

  /**
   * One of its network cards.
   *
   * @param index  In the order of the option `net`.
   * @throws {RangeError} There is none in that place.
   */
  card(index: number): NetworkCard {
    return this.#cards.at(index);
  }

  /** What was counted so far, over all lives of the machine. */
  statistics(): MachineStatistics {
    return this.#counters.read(
      this.#cycle,
      { ...this.#limits.statistics(), consoleLost: this.#console.lost },
      this.#bus,
      this.#end ? [] : this.#cards.statistics(),
    );
  }

  /** {@link stop}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** vCPUs that run without the others are gone, and everything else, before anybody is told. */
  async #begun(): Promise<void> {
    const refused = this.#cycle?.refused;
    if (refused) {
      await this.#ended;
      throw refused;
    }
    this.#plugged.keep();
    publishMachine(() => ({ state: 'booted', cards: this.#cards.names }));
  }

  #openConsole(undo: UndoList): Console {
    const console = new Console(this.#options.console, {
      setLine: (irq, level) => {
        this.#cycle?.vm.setLine(irq, level);
      },
      output: (bytes) => {
        callListeners(() => this.emit('output', bytes));
      },
    });
    undo.push(() => {
      console.close();
    });
    return console;
  }

  #openCards(undo: UndoList): NetworkCards {
    undo.push(() => {
      this.#plugged.close();
    });
    const place = {
      ...{ memory: this.#ram.memory, bus: this.#bus, limits: this.#limits },
      ...{ interrupts: this.#interrupts, doorbells: this.#doorbells },
      onFault: (fault: GuestFault, card: string) => {
        callListeners(() => this.emit('fault', fault, card));
      },
      onFailure: (error: unknown) => {
        publishMachine(() => ({ state: 'fault', error: error as Error }));
      },
    };
    return NetworkCards.open(this.#plugged.nets, place, undo);
  }

  #listen(signal: AbortSignal | undefined, undo: UndoList): void {
    const abort = () => {
      void this.stop();
    };
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort(); // while it was about to begin
    undo.push(() => {
      signal?.removeEventListener('abort', abort);
    });
  }

  #powerOn(): void {
    const cycle = PowerCycle.prepare({
      ...{ kvm: this.#kvm, ram: this.#ram, boot: this.#files.boot, cpus: this.#options.cpus },
      budget: this.#limits.budget,
      ...this.#buses,
      pci: this.#bus,
      onError: (error) => {
        this.#finish({ reason: 'failed', status: 1, error });
      },
    });
    try {
      this.#interrupts.use(cycle.vm);
      this.#doorbells.use(cycle.vm);
      void cycle.start().then((end) => {
        this.#cycleEnded(cycle, end);
      });
    } catch (error) {
      this.#interrupts.use(undefined);
      this.#doorbells.use(undefined);
      cycle.close();
      throw error;
    }
    this.#cycle = cycle;
    this.#counters.cycles++;
  }

  #reset(): void {
    const reset = { reason: 'reset', status: 0 } as const;
    this.#finish(this.#options.onReset === 'reboot' ? 'reboot' : reset);
  }

  /** The first word counts, but an end is more than a reboot. It may come between two lives. */
  #finish(intent: Intent): void {
    if (this.#intent === undefined || this.#intent === 'reboot') this.#intent = intent;
    void this.#cycle?.stop();
  }

  #cycleEnded(cycle: PowerCycle, end: VcpuEnd): void {
    this.#intent ??= this.#intentOf(end, cycle.refused);
    try {
      this.#limits.charged(() => {
        this.#powerOff(cycle);
        if (this.#intent === 'reboot') this.#powerOn();
      });
    } catch (error) {
      this.#takeDown(failed(error));
      return;
    }
    if (this.#cycle) this.#begunAnew(this.#cycle);
    else this.#takeDown(this.#intent as MachineEnd); // only a reboot begins another life
  }

  #begunAnew(cycle: PowerCycle): void {
    if (this.#intent !== 'reboot') {
      void cycle.stop(); // somebody has ended the machine while it was about to begin
      return;
    }
    this.#intent = undefined;
    // One that lacks a vCPU does not begin: it is about to end.
    if (cycle.refused) return;
    publishMachine(() => ({ state: 'reboot' }));
    callListeners(() => this.emit('reboot'));
  }

  #intentOf({ reason, detail }: VcpuEnd, refused: Error | undefined): Intent {
    if (refused) return failed(refused);
    if (reason === 'shutdown' && this.#options.onReset === 'reboot') return 'reboot';
    const error = new VhostError('ERR_VHOST_STATE', `the guest can not go on: ${detail}`);
    return { reason: 'failed', status: 1, error };
  }

  /** No vCPU runs any more. The virtual machine goes last, for doorbells and interrupts are its own. */
  #powerOff(cycle: PowerCycle): void {
    this.#cycle = undefined;
    try {
      this.#bus.reset();
      this.#console.serial.reset();
      this.#counters.add(cycle);
    } finally {
      this.#interrupts.use(undefined);
      this.#doorbells.use(undefined);
      cycle.close();
    }
  }

  #takeDown(intent: MachineEnd): void {
    let end = intent;
    try {
      this.#unwind();
    } catch (error) {
      end = failed(error);
    }
    this.#end = end;
    if (this.#plugged.none) this.#tellEnd(end);
    else void this.#unplug(end);
  }

  /** Whatever fails of the last look, nothing stays open. */
  #unwind(): void {
    try {
      this.#console.flush();
      this.#keepStatistics();
    } finally {
      this.#down.unwind();
    }
  }

  /** How the machine has ended is not changed by what can't be read of it any more. */
  #keepStatistics(): void {
    try {
      this.#counters.keep(this.#cards.statistics());
    } catch (error) {
      publishMachine(() => ({ state: 'fault', error: error as Error }));
    }
  }

  /** The taps are closed: their ports are to leave the bridges before anybody is told. */
  async #unplug(end: MachineEnd): Promise<void> {
    // What a listener throws is no failure of this.
    this.#tellEnd(await this.#plugged.unplug().then(() => end, failed));
  }

  #tellEnd(end: MachineEnd): void {
    this.#end = end;
    publishMachine(() => ({ state: 'ended', end }));
    this.#settle(end);
    callListeners(() => this.emit('end', end));
  }
}
