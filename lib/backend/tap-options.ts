import { LINK_OPTIONS, checkBoolean, checkInteger, checkKnown } from './link-options.js';
import { checkLinkOptions, checkName } from './link-options.js';
import type { CheckedLinkOptions, LinkOptions } from './link-options.js';
import { misuse } from '../errors.js';

/** One instruction of classic BPF, as `struct sock_filter` has it. */
export type BpfInstruction = readonly [code: number, jt: number, jf: number, k: number];

/** How the interface behind a tap or macvtap shares out and sorts frames for us. */
export interface SteeringOptions {
  /**
   * Descriptor of an eBPF program (`BPF_PROG_TYPE_SOCKET_FILTER`) that chooses the queue for each frame
   * that comes to us: what it returns, modulo the number of queues. It stays the caller's, and may be
   * closed afterwards. Default: the kernel chooses: the queue by which a flow was last sent, and for
   * others a hash of the flow. For a tap only.
   */
  steering?: number;
  /**
   * A classic BPF program that says how many bytes of each frame come to us, 0 for none; what it holds
   * back is in the host's `transmitDropped`. Default: all come. For a tap only.
   */
  filter?: readonly BpfInstruction[];
}

/** How to create a tap, or to attach to one. */
export interface TapOptions extends LinkOptions, SteeringOptions {
  /**
   * The interface's name, 1 to 15 bytes. `%d` in it lets the kernel choose a number. An existing
   * tap of that name is attached to.
   */
  tap: string;
  /**
   * Whether the interface may have several queues: those of this port's `queuePairs`, and those of
   * other ports that attach to it, in other threads or processes. An existing tap must have been made
   * like that. Offloads and the length of headers are the interface's: all that attach must agree on
   * them. Default: true with more than one queue pair, else false.
   */
  multiQueue?: boolean;
  /** Let the interface stay after {@link Tap.close}. Default: it keeps what it has. */
  persistent?: boolean;
  /** Number of the user who may attach without CAP_NET_ADMIN. Default: it keeps what it has. */
  owner?: number;
  /** Number of the group that may attach without CAP_NET_ADMIN. Default: it keeps what it has. */
  group?: number;
}

const KNOWN = [
  'tap',
  ...LINK_OPTIONS,
  'steering',
  'filter',
  'multiQueue',
  'persistent',
  'owner',
  'group',
];

/** Ids are unsigned in the kernel, and the last means nobody. */
const LAST_ID = 0xfffffffe;

/** Instructions of a program at the most. `<linux/bpf_common.h>` `BPF_MAXINSNS`. */
const MOST_INSTRUCTIONS = 4096;

/** Options in the form in which the kernel wants them. */
export interface CheckedTapOptions extends CheckedLinkOptions {
  readonly tap: string;
  readonly multiQueue: boolean | undefined;
  readonly persistent: boolean | undefined;
  readonly owner: number | undefined;
  readonly group: number | undefined;
  readonly steering: number | undefined;
  readonly program: Uint8Array | undefined;
}

/** `struct sock_filter`, one behind the other. */
function pack(filter: readonly BpfInstruction[]): Uint8Array {
  const bytes = Buffer.alloc(8 * filter.length);
  filter.forEach(([code, jt, jf, k], i) => {
    bytes.writeUInt16LE(code, 8 * i);
    bytes.writeUInt8(jt, 8 * i + 2);
    bytes.writeUInt8(jf, 8 * i + 3);
    bytes.writeUInt32LE(k, 8 * i + 4);
  });
  return bytes;
}

function checkFilter(filter: readonly BpfInstruction[] | undefined): Uint8Array | undefined {
  if (filter === undefined) return undefined;
  const isInstruction = (one: unknown) => Array.isArray(one) && one.length === 4;
  if (!Array.isArray(filter) || !filter.every(isInstruction)) {
    throw misuse.type('filter', 'an array of instructions [code, jt, jf, k]', filter);
  }
  if (filter.length < 1 || filter.length > MOST_INSTRUCTIONS) {
    throw misuse.range('filter', `1 to ${String(MOST_INSTRUCTIONS)} instructions`, filter);
  }
  for (const [code, jt, jf, k] of filter as readonly BpfInstruction[]) {
    checkInteger('filter', code, 0, 0xffff);
    checkInteger('filter', jt, 0, 0xff);
    checkInteger('filter', jf, 0, 0xff);
    checkInteger('filter', k, 0, 0xffffffff);
  }
  return pack(filter);
}

/** @throws {TypeError} or `RangeError`, naming the option that does not fit. */
export function checkTapOptions(options: TapOptions): CheckedTapOptions {
  checkKnown(options, KNOWN);
  const { tap, multiQueue, persistent, owner, group, steering } = options;
  checkName('tap', tap);
  const link = checkLinkOptions(options);
  checkBoolean('multiQueue', multiQueue);
  checkBoolean('persistent', persistent);
  checkInteger('owner', owner, 0, LAST_ID);
  checkInteger('group', group, 0, LAST_ID);
  checkInteger('steering', steering, 0, 0x7fffffff);
  const program = checkFilter(options.filter);
  return { ...link, tap, multiQueue, persistent, owner, group, steering, program };
}
