import { getSystemErrorMap, inspect } from 'node:util';

/** What went wrong, for a program to match on. System errors have the errno's name instead. */
export type VhostErrorCode =
  | 'ERR_VHOST_ADDON_LOAD'
  | 'ERR_VHOST_CLOSED'
  | 'ERR_VHOST_BACKEND_LOST'
  | 'ERR_VHOST_FEATURE_MISSING'
  | 'ERR_VHOST_FRAMES_LOST'
  | 'ERR_VHOST_HEADER_SIZE'
  | 'ERR_VHOST_MEMORY_IN_USE'
  | 'ERR_VHOST_QUEUE_BROKEN'
  | 'ERR_VHOST_QUEUE_CORRUPT'
  | 'ERR_VHOST_STATE';

/** Any error of this package that is not a misuse. Match on `code`. */
export class VhostError extends Error {
  /** An error with a code and a sentence for people. */
  constructor(
    /** A {@link VhostErrorCode}, or the name of an errno. */
    readonly code: string,
    message: string,
  ) {
    super(message);
  }

  static {
    // On the prototype: an own property would show up whenever the error is printed.
    Object.defineProperty(this.prototype, 'name', { value: 'VhostError', writable: true });
  }
}

/** What to do about it, by request (or syscall and path) and errno. */
const HINTS: Readonly<Record<string, string>> = {
  'open /dev/vhost-net ENOENT': 'load the module: modprobe vhost_net',
  'open /dev/vhost-net ENODEV': 'the node is there but its module is not: modprobe vhost_net',
  'open /dev/vhost-net EACCES': 'this user needs read and write access to /dev/vhost-net',
  'open /dev/vhost-net EPERM': 'the device is not allowed here (device cgroup of a container?)',
  'open /dev/net/tun ENOENT': 'load the module: modprobe tun',
  'open /dev/net/tun ENODEV': 'the node is there but its module is not: modprobe tun',
  'open /dev/net/tun EACCES': 'this user needs read and write access to /dev/net/tun',
  'VHOST_SET_OWNER EBUSY': 'this descriptor already has an owner: open a new one',
  'VHOST_SET_OWNER ENOMEM':
    'no memory, or a limit of processes (RLIMIT_NPROC, pids cgroup) is reached',
  'VHOST_SET_MEM_TABLE E2BIG': 'more regions than the parameter max_mem_regions of module vhost',
  'VHOST_NET_SET_BACKEND EFAULT': 'set the memory table and the addresses of the vring first',
  'VHOST_NET_SET_BACKEND ENOTSOCK': 'the backend must be a tap, a macvtap or a packet socket',
  'TUNSETIFF EPERM': 'needs CAP_NET_ADMIN, or a tap that was created for this user',
  'TUNSETIFF EBUSY':
    'another process has this tap open, or an interface of another kind has the name',
  'TUNSETIFF EINVAL': 'an interface of that name is no tap, or differs in its multi_queue flag',
  'TUNSETVNETHDRSZ EINVAL': 'this kernel does not know a header of that size',
  'RTM_SETLINK EPERM': 'needs CAP_NET_ADMIN in the namespace of the interface',
  'RTM_NEWADDR EPERM': 'needs CAP_NET_ADMIN in the namespace of the interface',
};

/** The system refused a request. Shaped like Node's own system errors. */
export class VhostSystemError extends VhostError {
  /** Negative, as Node has it. */
  readonly errno: number;
  /** The path that the call was about. */
  readonly path?: string;
  /** What usually helps. */
  readonly hint?: string;

  /**
   * The error for an errno; its name and text are Node's.
   *
   * @param errno  Positive, as the kernel has it.
   * @param syscall  Such as `ioctl`.
   * @param request  Which of the many, such as `VHOST_SET_OWNER`; empty when there is only one.
   */
  constructor(
    errno: number,
    readonly syscall: string,
    readonly request: string,
    path?: string,
  ) {
    const [code, text] = getSystemErrorMap().get(-errno) ?? [
      `ERRNO_${String(errno)}`,
      'unknown error',
    ];
    const what = request === '' ? syscall : `${syscall} ${request}`;
    super(code, `${code}: ${text}, ${what}${path === undefined ? '' : ` '${path}'`}`);
    this.errno = -errno;
    if (path !== undefined) this.path = path;
    const hint = HINTS[`${request === '' ? `${syscall} ${path ?? ''}` : request} ${code}`];
    if (hint !== undefined) this.hint = hint;
  }

  static {
    Object.defineProperty(this.prototype, 'name', { value: 'VhostSystemError', writable: true });
  }
}

function came(value: unknown): string {
  return inspect(value, {
    depth: 0,
    maxStringLength: 60,
    maxArrayLength: 5,
    breakLength: Infinity,
  });
}

/** Errors for wrong arguments: which option, what it must be, what came instead. */
export const misuse = {
  type(option: string, expected: string, value: unknown): TypeError {
    return new TypeError(`${option} must be ${expected}, got ${came(value)}`);
  },
  range(option: string, expected: string, value: unknown): RangeError {
    return new RangeError(`${option} must be ${expected}, got ${came(value)}`);
  },
  unknown(option: string, known: readonly string[]): TypeError {
    return new TypeError(`unknown option ${came(option)}; there are ${known.join(', ')}`);
  },
};
