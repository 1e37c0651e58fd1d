import type { Arena } from './arena.js';
import type { ReceivePath } from './receive-path.js';
import type { TransmitPath } from './transmit-path.js';
import type { Backend } from '../backend/backend.js';
import type { QueuePair } from '../dataplane/queue-pair.js';
import { Watchdog } from '../dataplane/repair.js';
import type { Fault, FaultCause, FaultyRing } from '../dataplane/repair.js';
import { VhostError } from '../errors.js';

/** What went wrong with a port, and what became of its frames. */
export interface RepairReport {
  readonly cause: FaultCause;
  readonly ring: FaultyRing;
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
  readonly arena: Arena;
  /** vhost's part of the agreement. */
  readonly features: bigint;
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
export class Recovery {
  readonly #options: RecoveryOptions;
  readonly #watchdog: Watchdog;
  #recent: number[] = [];
  #repairs = 0;
  #pending: NodeJS.Immediate | undefined;
  #over = false;

  constructor(options: RecoveryOptions) {
    this.#options = options;
    const { pair, backend, transmit } = options;
    const subject = {
      worker: pair.worker,
      backendLost: () => backend.lost(),
      transmitProgress: () => transmit.progress(),
      transmitBase: () => pair.bases().transmit,
      kickTransmit: () => {
        transmit.kick();
      },
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
    if (this.#over || this.#pending) return;
    this.#watchdog.stop();
    this.#pending = setImmediate(() => {
      this.#pending = undefined;
      this.#act(fault);
    });
  }

  /** No more looks, no more repairs. */
  close(): void {
    this.#over = true;
    this.#watchdog.stop();
    clearImmediate(this.#pending);
  }

  #act(fault: Fault): void {
    if (!this.#options.repair || this.#tooMany()) {
      this.#giveUp(fault, undefined);
      return;
    }
    try {
      const report = this.#repair(fault);
      if (!this.#over) this.#options.onRepair(report);
    } catch (error) {
      this.#giveUp(fault, error);
    }
  }

  #tooMany(): boolean {
    const now = performance.now();
    this.#recent = this.#recent.filter((at) => now - at < WITHIN);
    this.#recent.push(now);
    return this.#recent.length > MOST;
  }

  #giveUp(fault: Fault, cause: unknown): void {
    if (this.#over) return;
    this.#watchdog.stop();
    const code = fault.cause === 'backend' ? 'ERR_VHOST_BACKEND_LOST' : 'ERR_VHOST_QUEUE_BROKEN';
    const error = new VhostError(code, fault.message);
    if (cause !== undefined) error.cause = cause;
    this.#options.onError(error);
  }

  /** Backend off, account, rings anew where they must be, backend on. */
  #repair(fault: Fault): RepairReport {
    const { pair, backend, receive, transmit } = this.#options;
    const began = performance.now();
    pair.stop();
    const bases = pair.bases();
    const faulty = (ring: FaultyRing) => fault.ring === ring || fault.ring === 'both';
    const sent = transmit.recover(bases.transmit, faulty('transmit'));
    const receiveBase = receive.recover(bases.receive, faulty('receive'));
    const { cause, ring, message } = fault;
    const report = { cause, ring, message, unsent: sent.unsent, unknown: sent.unknown };
    // A handler may have closed the port.
    if (this.#over) return { ...report, milliseconds: performance.now() - began };
    if (backend.lost()) backend.reopen();
    this.#startPair(receiveBase, sent.base);
    this.#repairs++;
    this.#watchdog.start();
    receive.resumed();
    transmit.resumed();
    return { ...report, milliseconds: performance.now() - began };
  }

  #startPair(receiveBase: number, transmitBase: number): void {
    const { pair, backend, arena, features } = this.#options;
    const [queue] = backend.queues;
    if (!queue) throw new VhostError('ERR_VHOST_STATE', 'the backend has no queue');
    pair.start({
      memory: arena.memory,
      features,
      receive: arena.placement(arena.receive, receiveBase),
      transmit: arena.placement(arena.transmit, transmitBase),
      backend: queue,
    });
  }
}
