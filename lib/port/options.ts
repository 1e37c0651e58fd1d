import { LONGEST_GSO_FRAME } from './offload.js';
import type { Offloads } from './offload.js';
import type { Backend } from '../backend/backend.js';
import { openBackend, withQueues } from '../backend/open.js';
import type { BackendOptions } from '../backend/open.js';
import type { OvsTapOptions } from '../backend/ovs-options.js';
import { misuse } from '../errors.js';
import { checkQueueSize } from '../ring/split-layout.js';

/** How to open a port. */
export interface PortOptions {
  /** What stands behind vhost: how to make it, or one that is open. The port closes it either way. */
  backend: BackendOptions | OvsTapOptions | Backend;
  /**
   * Queue pairs, each with a worker of its own: 1 to 256. Default: 1, or as many as an open backend
   * has queues.
   */
  queuePairs?: number;
  /** Descriptors of each ring: a power of 2 in 2..32768. Default: 1024. */
  queueSize?: number;
  /** Default: `none`; with a packet socket, which can't have that, `auto`. */
  offloads?: Offloads;
  /**
   * Microseconds for which the port goes on looking for frames after the last one, in turns of the
   * event loop, before it waits to be called: less latency for a CPU that is busy meanwhile.
   * Default: 0.
   */
  pollMicroseconds?: number;
  /** The same for the kernel's worker: how long it looks for more work before it sleeps. Default: 0. */
  workerPollMicroseconds?: number;
  /**
   * For how many frames a call may wait while many come: fewer calls, each for more frames. A frame
   * waits a millisecond or two at the most, and where few come it does not wait at all. 1: never wait.
   * Default: a quarter of `queueSize`, at most 256.
   */
  coalesceFrames?: number;
  /** Aborting closes the port; what fails then is an event `error`, behind `close`. */
  signal?: AbortSignal;
  /**
   * Let blocking calls such as `receiveBlocking` stop the event loop of the main thread, and
   * not only of a Worker. Default: false.
   */
  blockMainThread?: boolean;
  /**
   * Mend rings that something has stopped, with an event `repair`; else it is an event `error`.
   * Default: true.
   */
  repair?: boolean;
  /** Overwrite every slot that goes back to the kernel, so that a stale view shows at once. Default: false. */
  poison?: boolean;
}

const KNOWN = [
  'backend',
  'queuePairs',
  'queueSize',
  'offloads',
  'pollMicroseconds',
  'workerPollMicroseconds',
  'coalesceFrames',
  'signal',
  'blockMainThread',
  'repair',
  'poison',
];

/** Where the backend's interface is plugged in, and how to take it out again. */
export interface Plug {
  remove(): Promise<void>;
}

/** Options with every default filled in. */
export interface CheckedPortOptions {
  readonly plug?: Plug;
  readonly backend: PortOptions['backend'];
  readonly queuePairs: number | undefined;
  readonly queueSize: number;
  readonly offloads: Offloads | undefined;
  readonly signal: AbortSignal | undefined;
  readonly blockMainThread: boolean;
  readonly pollMicroseconds: number;
  readonly workerPollMicroseconds: number;
  readonly coalesceFrames: number;
  readonly repair: boolean;
  readonly poison: boolean;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** Queues that one interface may have. `MAX_TAP_QUEUES`. */
const MOST_QUEUES = 256;

/** @throws {TypeError} or `RangeError`: no number of queue pairs. */
export function checkQueuePairs(count: unknown): void {
  if (typeof count !== 'number') throw misuse.type('queuePairs', 'a number', count);
  if (!Number.isInteger(count) || count < 1 || count > MOST_QUEUES) {
    throw misuse.range('queuePairs', `an integer in 1..${String(MOST_QUEUES)}`, count);
  }
}

/** The backend that was given, or what its options describe, with as many queues as queue pairs. */
export function openBackendOf({ backend, queuePairs }: CheckedPortOptions): Backend {
  return isBackend(backend) ? withQueues(backend, queuePairs) : openBackend(backend, queuePairs);
}

/** Lets go of the backend of a port that can't be opened; one that was given open may have been there before. */
export function discardBackend(backend: Backend, options: CheckedPortOptions): void {
  const isGiven = isBackend(options.backend) && !options.plug;
  if (isGiven || !backend.discard) backend.close();
  else backend.discard();
}

/** Whether a backend was given open, and not as options. */
export function isBackend(backend: PortOptions['backend']): backend is Backend {
  return 'queues' in backend;
}

/** @throws {TypeError} or `RangeError`, naming the option that does not fit. */
export function checkPortOptions(options: PortOptions): CheckedPortOptions {
  if (!isObject(options)) throw misuse.type('options', 'an object', options);
  for (const name of Object.keys(options)) {
    if (!KNOWN.includes(name)) throw misuse.unknown(name, KNOWN);
  }
  const { backend, queuePairs, queueSize = 1024, offloads, signal } = options;
  const { repair = true, poison = false, blockMainThread = false } = options;
  const { pollMicroseconds = 0, workerPollMicroseconds = 0 } = options;
  checkMicroseconds('pollMicroseconds', pollMicroseconds);
  checkMicroseconds('workerPollMicroseconds', workerPollMicroseconds);
  if (!isObject(backend)) throw misuse.type('backend', "an object such as { tap: 'vn0' }", backend);
  checkQueueSize(queueSize, 'queueSize', 2);
  const { coalesceFrames = defaultCoalescing(queueSize) } = options;
  checkCoalescing(coalesceFrames, queueSize);
  if (queuePairs !== undefined) checkQueuePairs(queuePairs);
  if (offloads !== undefined && !['none', 'auto'].includes(offloads)) {
    throw misuse.range('offloads', "'none' or 'auto'", offloads);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw misuse.type('signal', 'an AbortSignal', signal);
  }
  for (const [option, value] of Object.entries({ repair, poison, blockMainThread })) {
    if (typeof value !== 'boolean') throw misuse.type(option, 'a boolean', value);
  }
  return {
    backend,
    queuePairs,
    queueSize,
    offloads,
    pollMicroseconds,
    workerPollMicroseconds,
    coalesceFrames,
    signal,
    blockMainThread,
    repair,
    poison,
  };
}

/** Beyond, the time that a frame may wait comes first. */
const MANY_FRAMES = 256;

/** So few that the other slots hold what comes until somebody looks. */
function defaultCoalescing(queueSize: number): number {
  return Math.min(MANY_FRAMES, Math.max(1, queueSize >> 2));
}

function checkCoalescing(frames: unknown, queueSize: number): void {
  if (typeof frames !== 'number') throw misuse.type('coalesceFrames', 'a number', frames);
  if (Number.isInteger(frames) && frames >= 1 && frames <= queueSize) return;
  throw misuse.range('coalesceFrames', `an integer in 1..${String(queueSize)}`, frames);
}

/**
 * What a port with this backend exchanges.
 *
 * @throws {RangeError} Frames would come unfinished, which is not what was asked for.
 */
export function resolveOffloads(offloads: Offloads | undefined, backend: Backend): Offloads {
  if (!backend.unfinished) return offloads ?? 'none';
  if (offloads !== 'none') return 'auto';
  throw misuse.range(
    'offloads',
    "'auto' with a packet socket, to which unfinished frames come",
    offloads,
  );
}

/** A second is more than anybody can mean. */
const LONGEST_POLL = 1_000_000;

function checkMicroseconds(option: string, value: unknown): void {
  if (typeof value !== 'number') throw misuse.type(option, 'a number', value);
  if (!Number.isInteger(value) || value < 0 || value > LONGEST_POLL) {
    throw misuse.range(option, `an integer in 0..${String(LONGEST_POLL)}`, value);
  }
}

/** Bytes of a slot's frame when every frame is complete: an Ethernet frame with a VLAN tag. */
const PLAIN_SLOT = 1518;

/** With offloads: a quarter of the longest frame, so that a short one does not waste much. */
const OFFLOAD_SLOT = 16384;

/**
 * Bytes of frame that one slot is to hold.
 *
 * @throws {RangeError} Even the whole receive ring could not hold one frame; it would wait for ever.
 */
export function slotPayload(queueSize: number, offloads: Offloads, mtu: number): number {
  const slot = offloads === 'auto' ? OFFLOAD_SLOT : PLAIN_SLOT;
  const longest = offloads === 'auto' ? LONGEST_GSO_FRAME : mtu + 18;
  if (queueSize * slot < longest) {
    throw misuse.range('queueSize', `enough for a frame of ${String(longest)} bytes`, queueSize);
  }
  return slot;
}
