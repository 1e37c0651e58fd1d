import { PAYLOAD_AT } from './echo.js';
import { TraceInstance } from './instance.js';
import type { Blindness } from './instance.js';
import { parseTrace } from './lines.js';
import type { TraceEvent } from './lines.js';
import type { Walk } from './walk.js';

/** The kernel prints whole microseconds, so what it says of a moment may be up to one before it. */
const MICROSECOND = 1000n;

/** Bytes that the stack has taken off when it is given a frame. */
const ETHERNET_HEADER = 14;

/** From when to when to look. Undefined as the beginning: it never began, and nothing is found. */
export interface Span {
  readonly since: bigint | undefined;
  /** Undefined: there is no end. */
  readonly until?: bigint | undefined;
}

type Matches = (event: TraceEvent) => boolean;

const byThisThread: Matches = ({ tid }) => tid === process.pid;

/** What the kernel recorded of a walk, and the frame's place in it. */
export class KernelRecord {
  /** The frame is handed to the tap: step 3 begins. */
  readonly queued: TraceEvent | undefined;
  /** The tap has queued it. */
  readonly accepted: TraceEvent | undefined;
  /** The worker copies it out. */
  readonly copied: TraceEvent | undefined;
  /** When step 3 began, as exactly as it was seen. */
  readonly zero: bigint | undefined;

  readonly #events: readonly TraceEvent[];
  readonly #kernel: TraceInstance | Blindness | undefined;
  readonly #worker: number;

  /** Ends recording. */
  constructor({ kernel, worker, sent, payload }: Walk) {
    this.#kernel = kernel;
    this.#events = kernel instanceof TraceInstance ? parseTrace(kernel.stop()) : [];
    this.#worker = worker?.tid ?? -1;
    const length = String(PAYLOAD_AT + payload.length);
    this.queued = this.find('net_dev_start_xmit', { since: sent?.at }, (event) => {
      return byThisThread(event) && event.fields['len'] === length;
    });
    this.zero = this.queued?.nanoseconds ?? sent?.at;
    this.accepted = this.#ofFrame('net_dev_xmit');
    this.copied = this.#ofFrame('skb_copy_datagram_iovec');
  }

  /** The first event of a name, without its subsystem, in a span. */
  find(name: string, { since, until }: Span, matches: Matches): TraceEvent | undefined {
    if (since === undefined) return undefined;
    const from = since - (since % MICROSECOND);
    return this.#events.find((event) => {
      if (event.name !== name || event.nanoseconds < from) return false;
      return (until === undefined || event.nanoseconds <= until) && matches(event);
    });
  }

  /** This thread wakes the worker. */
  workerWoken(span: Span): TraceEvent | undefined {
    return this.#woken(this.#worker, process.pid, span);
  }

  /** The worker wakes this thread, if it has to. */
  thisWoken(span: Span): TraceEvent | undefined {
    return this.#woken(process.pid, this.#worker, span);
  }

  /** A CPU goes over to the worker. */
  workerRuns(span: Span): TraceEvent | undefined {
    return this.#runs(this.#worker, span);
  }

  /** A CPU goes over to this thread. */
  thisRuns(span: Span): TraceEvent | undefined {
    return this.#runs(process.pid, span);
  }

  /** The worker hands the host's stack a frame that the tap received. */
  delivered(length: number, span: Span): TraceEvent | undefined {
    const behindHeader = String(length - ETHERNET_HEADER);
    return this.find('netif_receive_skb', span, ({ tid, fields }) => {
      return tid === this.#worker && fields['len'] === behindHeader;
    });
  }

  /** This thread writes to a descriptor: where it begins and where it returns. */
  written(
    fd: number,
    span: Span,
  ): { began: TraceEvent; ended: TraceEvent | undefined } | undefined {
    const began = this.find('sys_enter_write', span, (event) => isFd(event, fd));
    if (!began) return undefined;
    return {
      began,
      ended: this.find('sys_exit_write', { since: began.nanoseconds }, byThisThread),
    };
  }

  /** This thread has read the counter of an eventfd. */
  counterRead(fd: number, span: Span): TraceEvent | undefined {
    const began = this.find('sys_enter_read', span, (event) => isFd(event, fd));
    const ended = this.find('sys_exit_read', { since: began?.nanoseconds }, byThisThread);
    return ended?.fields['result'] === '0x8' ? ended : undefined;
  }

  /** Why there is no event of that name, with what helps. */
  whyUnseen(id: string): string {
    const kernel = this.#kernel ?? { reason: 'no port was opened' };
    if (kernel instanceof TraceInstance) {
      return kernel.lacking.get(id) ?? 'it did not happen';
    }
    const { reason, remedy } = kernel;
    return remedy === undefined ? reason : `${reason}; as root: ${remedy}`;
  }

  /** What happens to the frame's buffer after it was handed to the tap. */
  #ofFrame(name: string): TraceEvent | undefined {
    const skb = this.queued?.fields['skbaddr'];
    const span = { since: this.queued?.nanoseconds };
    return this.find(name, span, ({ fields }) => fields['skbaddr'] === skb);
  }

  #woken(whom: number, by: number, span: Span): TraceEvent | undefined {
    return this.find('sched_waking', span, ({ tid, fields }) => {
      return tid === by && fields['pid'] === String(whom);
    });
  }

  #runs(tid: number, span: Span): TraceEvent | undefined {
    return this.find('sched_switch', span, ({ fields }) => fields['next_pid'] === String(tid));
  }
}

function isFd({ fields }: TraceEvent, fd: number): boolean {
  return Number.parseInt(fields['fd'] ?? '', 16) === fd;
}
