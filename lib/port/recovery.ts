import type { Arena, Borrower } from './arena.js';
import type { ReceivePath } from './receive-path.js';
import type { RingRecovery, TransmitPath } from './transmit-path.js';
import type { Backend, BackendQueue } from '../backend/backend.js';
import type { QueuePair, RingName } from '../dataplane/queue-pair.js';
import { BACKEND_LOST, Watchdog } from '../dataplane/repair.js';
import type { Fault, FaultCause, FaultyRing, WatchdogSubject } from '../dataplane/repair.js';
import { VhostError } from '../errors.js';
import type { GuestMemory } from '../memory/guest-memory.js';

/** What went wrong with a port, and what became of its frames. */
export interface RepairReport {
  /** What had stopped the rings. */
  readonly cause: FaultCause;
  /** Which of them it was. */
  readonly ring: FaultyRing;
  /** The port's queue that they belong to; the first is 0. */
  readonly queue: number;
  /** The same for a person. */
  readonly message: string;
  /** Frames that were sent and that the kernel had not seen. They are lost. */
  readonly unsent: number;
  /** Frames that the kernel took and never gave back: sent or not, nobody knows. */
  readonly unknown: number;
  /** How long the rings stood still for the repair. */
  readonly milliseconds: number;
}

/** What a recovery works with. */
export interface RecoveryOptions {
  readonly pair: QueuePair;
  readonly backend: Backend;
  /** Which of the backend's queues is bound to the rings. */
  readonly queueIndex: number;
  readonly arena: Arena;
  /** vhost's part of the agreement. */
  readonly features: bigint;
  readonly workerPollMicroseconds: number;
  readonly receive: ReceivePath;
  readonly transmit: TransmitPath;
  /** Whether faults are mended, or only told. */
  readonly repair: boolean;
  readonly onRepair: (report: RepairReport) => void;
  readonly onError: (error: VhostError) => void;
}

/** More repairs than this in ten seconds, and the cause is one that a repair does not end. */
const MOST = 5;
const WITHIN = 10_000;

/** Starts the rings of a port, and starts them again when something has stopped them. */
export class Recovery implements Borrower {
  readonly #options: RecoveryOptions;
  readonly #watchdog: Watchdog;
  #recent: number[] = [];
  #repairs = 0;
  #pending: NodeJS.Immediate | undefined;
  #fault: Fault | undefined;
  #closed = false;
  /** Why a ring will not go on; nothing is mended any more then. */
  readonly #failed = new Map<RingName, VhostError>();
  /** Other ports' memory that the device may read. */
  readonly #borrowed = new Set<Arena>();
  /** What the rings are bound to. */
  #bound: BackendQueue | undefined;
  /** A repair is at work; nobody has the rings. */
  repairing = false;
  /** Frames to be sent lay in memory that went while the rings were stopped. */
  #evicted = false;

  constructor(options: RecoveryOptions) {
    this.#options = options;
    const { pair, transmit } = options;
    const subject: WatchdogSubject = {
      worker: pair.worker,
      backendLost: () => this.#isLost(),
      transmitProgress: () => transmit.progress(),
      transmitBase: () => pair.base('transmit'),
      kickTransmit: () => {
        transmit.kick();
      },
      transmitPlace: () => ({ ...transmit.ringPlace, backend: this.#bound?.descriptor }),
    };
    this.#watchdog = new Watchdog(subject, (fault) => {
      this.report(fault);
    });
  }

  /** How many repairs there were. */
  get repairs(): number {
    return this.#repairs;
  }

  /** Hands the rings to the worker for the first time. */
  start(): void {
    this.#startPair(0, 0);
    this.#options.receive.start();
    this.#options.transmit.start();
    this.#watchdog.start();
  }

  /** A fault was seen. It is mended in a turn of its own, so that no handler runs meanwhile. */
  report(fault: Fault): void {
    if (this.#closed || this.#pending || this.#hopeful(fault).length === 0) return;
    this.#watchdog.stop();
    this.#fault = fault;
    this.#pending = setImmediate(() => {
      this.#mend();
    });
  }

  /** Milliseconds until the watchdog is to look; infinite when it does not. */
  get untilLook(): number {
    return this.#watchdog.rest;
  }

  /** For who keeps the event loop from turning: the looks and repairs that are due. */
  attend(): void {
    if (!this.#closed && !this.#pending) this.#watchdog.lookWhenDue();
    if (!this.#pending) return;
    clearImmediate(this.#pending);
    this.#mend();
  }

  /** Lets the device read another port's memory; false when there is no more room in its table. */
  borrow(arena: Arena): boolean {
    if (arena === this.#options.arena) return true;
    try {
      this.#options.pair.replaceMemory([...this.#memories(), arena.memory]);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'E2BIG') return false;
      throw error;
    }
    this.#borrowed.add(arena);
    arena.lendTo(this);
    return true;
  }

  /**
   * With frames of that port on their way, the transmit ring begins anew, and what is in it is lost
   * and counted. No handler runs in here: the port that closes may be in one of ours.
   */
  evict(arena: Arena): void {
    const { pair, transmit } = this.#options;
    this.#borrowed.delete(arena);
    arena.takeBackFrom(this);
    const out = transmit.stopLending(arena);
    if (!pair.running) {
      this.#evicted ||= out;
      return;
    }
    try {
      if (out) this.#transmitAnew();
      else pair.replaceMemory(this.#memories());
    } catch (error) {
      this.#fail(error);
    }
  }

  giveBack(): void {
    this.#options.transmit.reclaim();
  }

  hasten(): void {
    this.#options.transmit.hasten();
  }

  /** Why this ring will not go on; undefined while it may. */
  failure(ring: RingName): VhostError | undefined {
    return this.#failed.get(ring);
  }

  /** The rings that a fault concerns, of those that have not been given up. */
  #hopeful({ ring }: Fault): RingName[] {
    const concerned: readonly RingName[] = ring === 'both' ? ['receive', 'transmit'] : [ring];
    return concerned.filter((one) => !this.#failed.has(one));
  }

  /** The receive ring goes on where it is: what is wrong with it is a fault of its own. */
  #transmitAnew(): void {
    const bases = this.#stop();
    const { base } = this.#options.transmit.recover(bases.transmit, true);
    this.#goOn(bases.receive, base);
  }

  /** It is our failure, and none of whose memory had to go: that is let go in any case. */
  #fail(error: unknown): void {
    this.#options.pair.stop();
    const message = 'the rings do not run without the memory of a port that was closed';
    setImmediate(() => {
      this.#giveUp({ cause: 'kernel', ring: 'both', message }, error);
    });
  }

  /** Takes the rings back from the device; nobody looks after them meanwhile. */
  halt(): void {
    this.#watchdog.stop();
    this.#options.pair.stop();
  }

  /** The device has them again after {@link halt}; where that fails, it is a fault to be mended. */
  goOn(): void {
    const { pair, receive, transmit } = this.#options;
    if (this.#closed || this.#failed.size > 0 || pair.running) return;
    try {
      const bases = this.#stop();
      const { base } = transmit.recover(bases.transmit, false);
      this.#goOn(receive.recover(bases.receive, false), base);
    } catch (error) {
      this.report({ cause: 'kernel', ring: 'both', message: (error as Error).message });
    }
  }

  /** No more looks, no more repairs; other ports' memory is theirs again. */
  close(): void {
    for (const arena of this.#borrowed) arena.takeBackFrom(this);
    this.#closed = true;
    this.#watchdog.stop();
    clearImmediate(this.#pending);
  }

  #mend(): void {
    const fault = this.#fault;
    this.#pending = undefined;
    // A worker whose tap is gone may say first that it gave a ring up (Linux 6.1).
    if (fault) this.#act(this.#isLost() ? BACKEND_LOST : fault);
  }

  #act(fault: Fault): void {
    if (!this.#options.repair || this.#failed.size > 0 || this.#tooMany()) {
      this.#giveUp(fault, undefined);
      return;
    }
    let report: RepairReport;
    this.repairing = true;
    try {
      report = this.#repair(fault);
    } catch (error) {
      this.#giveUp(fault, error);
      return;
    } finally {
      this.repairing = false;
    }
    // What a handler throws is no failure of the repair.
    if (!this.#closed) this.#options.onRepair(report);
  }

  #tooMany(): boolean {
    const now = performance.now();
    this.#recent = this.#recent.filter((at) => now - at < WITHIN);
    this.#recent.push(now);
    return this.#recent.length > MOST;
  }

  #giveUp(fault: Fault, cause: unknown): void {
    if (this.#closed) return;
    const { pair, transmit, onError } = this.#options;
    // After a fault of one ring that nobody mends the other goes on; after a repair that failed, none.
    const given = this.#hopeful(pair.running ? fault : { ...fault, ring: 'both' });
    if (given.length === 0) return;
    const code = fault.cause === 'backend' ? 'ERR_VHOST_BACKEND_LOST' : 'ERR_VHOST_QUEUE_BROKEN';
    const error = new VhostError(code, fault.message);
    if (cause !== undefined) error.cause = cause;
    for (const ring of given) this.#failed.set(ring, error);
    if (given.includes('transmit')) transmit.giveUp(error);
    if (pair.running && this.#failed.size < 2) this.#watchdog.start();
    else this.#watchdog.stop();
    onError(error);
  }

  /** Backend off, account, rings anew where they must be, backend on. */
  #repair(fault: Fault): RepairReport {
    const { backend, receive, transmit } = this.#options;
    const began = performance.now();
    const bases = this.#stop();
    const faulty = (ring: FaultyRing) => fault.ring === ring || fault.ring === 'both';
    let sent = transmit.recover(bases.transmit, faulty('transmit'));
    const receiveBase = receive.recover(bases.receive, faulty('receive'));
    // A handler may have closed this port, or one whose frames were to go out here.
    if (!this.#closed) {
      if (this.#evicted) sent = sum(sent, transmit.recover(sent.base, true));
      if (backend.lost()) backend.reopen();
      this.#goOn(receiveBase, sent.base);
      this.#repairs++;
    }
    const { cause, ring, message } = fault;
    const { unsent, unknown } = sent;
    const queue = this.#options.queueIndex;
    return {
      cause,
      ring,
      queue,
      message,
      unsent,
      unknown,
      milliseconds: performance.now() - began,
    };
  }

  /** The avail indices from which the device would have read on. */
  #stop(): { receive: number; transmit: number } {
    this.#evicted = false;
    this.#options.pair.stop();
    return this.#options.pair.bases();
  }

  #goOn(receiveBase: number, transmitBase: number): void {
    this.#startPair(receiveBase, transmitBase);
    this.#watchdog.start();
    this.#options.receive.resumed();
    this.#options.transmit.resumed();
  }

  /** Also when another queue's recovery has opened the backend again, so that ours is of the one before. */
  #isLost(): boolean {
    const { backend, queueIndex } = this.#options;
    return backend.lost() || backend.queues[queueIndex]?.descriptor !== this.#bound?.descriptor;
  }

  #memories(): GuestMemory[] {
    return [this.#options.arena, ...this.#borrowed].map((arena) => arena.memory);
  }

  #startPair(receiveBase: number, transmitBase: number): void {
    const { pair, backend, arena, features, workerPollMicroseconds } = this.#options;
    const queue = backend.queues[this.#options.queueIndex];
    this.#bound = queue;
    if (!queue) throw new VhostError('ERR_VHOST_STATE', 'the backend has no queue');
    pair.start({
      memories: this.#memories(),
      features,
      receive: arena.placement(arena.receive, receiveBase),
      transmit: arena.placement(arena.transmit, transmitBase),
      backend: queue,
      workerPollMicroseconds,
    });
  }
}

/** What two recoveries in a row lost; the ring goes on from the second. */
function sum(first: RingRecovery, second: RingRecovery): RingRecovery {
  return {
    base: second.base,
    unsent: first.unsent + second.unsent,
    unknown: first.unknown + second.unknown,
  };
}
