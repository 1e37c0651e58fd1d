import { getSystemErrorMap, inspect } from 'node:util';

/** What went wrong, for a program to match on. System errors have the errno's name instead. */
export type VhostErrorCode =
  | 'ERR_VHOST_ADDON_LOAD'
  | 'ERR_VHOST_CLOSED'
  | 'ERR_VHOST_BACKEND_LOST'
  | 'ERR_VHOST_BACKEND_QUEUES'
  | 'ERR_VHOST_BACKEND_TYPE'
  | 'ERR_VHOST_FEATURE_MISSING'
  | 'ERR_VHOST_FRAMES_LOST'
  | 'ERR_VHOST_HEADER_SIZE'
  | 'ERR_VHOST_KERNEL_IMAGE'
  | 'ERR_VHOST_MEMORY_IN_USE'
  | OvsErrorCode
  | 'ERR_VHOST_QUEUE_BROKEN'
  | 'ERR_VHOST_QUEUE_CORRUPT'
  | 'ERR_VHOST_STATE'
  | 'ERR_VHOST_UNSUPPORTED';

/** What is wrong with Open vSwitch, or what it said no to. */
export type OvsErrorCode =
  | 'ERR_VHOST_OVS_BRIDGE'
  | 'ERR_VHOST_OVS_DAEMON'
  | 'ERR_VHOST_OVS_DENIED'
  | 'ERR_VHOST_OVS_PORT'
  | 'ERR_VHOST_OVS_TOOL';

/** Any error of this package that is not a misuse. Match on `code`. */
export class VhostError extends Error {
  /** An error with a code and a sentence for people. */
  constructor(
    /** A {@link VhostErrorCode}, or the name of an errno. */
    readonly code: string,
    message: string,
    hint?: string,
  ) {
    super(message);
    if (hint !== undefined) this.hint = hint;
  }

  /** What usually helps. */
  declare readonly hint?: string;

  static {
    // On the prototype: an own property would show up whenever the error is printed.
    Object.defineProperty(this.prototype, 'name', { value: 'VhostError', writable: true });
  }
}

/** Names and texts of errnos that Node, which follows other systems as well, does not know. */
const LINUX_ERRORS: ReadonlyMap<number, [code: string, text: string]> = new Map([
  [-67, ['ENOLINK', 'link has been severed']],
  [-74, ['EBADMSG', 'bad message']],
  [-77, ['EBADFD', 'file descriptor in bad state']],
]);

const PROCESSES = 'a limit of processes (RLIMIT_NPROC, pids cgroup) is reached';
const NET_ADMIN = 'needs CAP_NET_ADMIN in the namespace of the interface';

const UNKNOWN = "this kernel's vhost-net does not know that request";
const NO_EVENTFD = 'that descriptor is no eventfd';
const RUNS = 'the vring runs: take its backend off first';

/** What to do about it, by request (or syscall and path) and errno. */
const HINTS: Readonly<Record<string, string>> = {
  'open /dev/vhost-net ENOENT': 'load the module: modprobe vhost_net',
  'open /dev/vhost-net ENODEV': 'the node is there but its module is not: modprobe vhost_net',
  'open /dev/vhost-net EACCES': 'this user needs read and write access to /dev/vhost-net',
  'open /dev/vhost-net EPERM': 'the device is not allowed here (device cgroup of a container?)',
  'open /dev/kvm ENOENT':
    'load the module: modprobe kvm_amd or kvm_intel (does this CPU have svm or vmx?)',
  'open /dev/kvm ENODEV': 'the node is there but its module is not: modprobe kvm_amd or kvm_intel',
  'open /dev/kvm EACCES': 'this user needs read and write access to /dev/kvm (group kvm)',
  'open /dev/kvm EPERM': 'the device is not allowed here (device cgroup of a container?)',
  'KVM_CREATE_VM EBUSY': 'another hypervisor has the virtualisation of this CPU',
  'open /dev/net/tun ENOENT': 'load the module: modprobe tun',
  'open /dev/net/tun ENODEV': 'the node is there but its module is not: modprobe tun',
  'open /dev/net/tun EACCES': 'this user needs read and write access to /dev/net/tun',
  'open /dev/net/tun EPERM': 'the device is not allowed here (device cgroup of a container?)',
  'open /run/netns/ ENOENT': 'there is no such network namespace: ip netns add, or a path with "/"',
  'setns EPERM': 'needs CAP_SYS_ADMIN, or run the whole process in there: ip netns exec',
  'setns EINVAL': 'that file is no network namespace',
  'pthread_create EAGAIN': PROCESSES,
  'mmap ENOMEM':
    'no memory, or a limit of address space (RLIMIT_AS) or of mappings (vm.max_map_count) is reached',
  'VHOST_ EPERM': 'this process is not the owner of that descriptor: setOwner() first',
  'VHOST_ ENOBUFS': 'vhost-net has vrings 0 and 1',
  'VHOST_ ENOTTY': UNKNOWN,
  'VHOST_ ENOTSUP': 'a bit that this kernel does not offer: ask for those first',
  'VHOST_GET_FEATURES_ARRAY EPERM': UNKNOWN,
  'VHOST_GET_FEATURES_ARRAY ENOBUFS': UNKNOWN,
  'VHOST_SET_FEATURES_ARRAY EPERM': UNKNOWN,
  'VHOST_SET_FEATURES_ARRAY ENOBUFS': UNKNOWN,
  'VHOST_GET_FORK_FROM_OWNER EPERM': UNKNOWN,
  'VHOST_GET_FORK_FROM_OWNER ENOBUFS': UNKNOWN,
  'VHOST_SET_FORK_FROM_OWNER EPERM': UNKNOWN,
  'VHOST_SET_FORK_FROM_OWNER ENOBUFS': UNKNOWN,
  'VHOST_SET_OWNER EBUSY': 'this descriptor already has an owner: open a new one',
  'VHOST_SET_OWNER ENOMEM': `no memory, or ${PROCESSES}`,
  'VHOST_SET_FORK_FROM_OWNER EBUSY': 'the worker is there already: call it before setOwner()',
  'VHOST_SET_MEM_TABLE E2BIG': 'more regions than the parameter max_mem_regions of module vhost',
  'VHOST_SET_MEM_TABLE EFAULT': 'a region that goes beyond the last address',
  'VHOST_SET_LOG_FD EINVAL': NO_EVENTFD,
  'VHOST_SET_VRING_KICK EINVAL': NO_EVENTFD,
  'VHOST_SET_VRING_CALL EINVAL': NO_EVENTFD,
  'VHOST_SET_VRING_ERR EINVAL': NO_EVENTFD,
  'VHOST_SET_VRING_NUM EBUSY': RUNS,
  'VHOST_SET_VRING_NUM EINVAL': 'a vring has a power of 2 of descriptors, at most 32768',
  'VHOST_SET_VRING_BASE EBUSY': RUNS,
  'VHOST_SET_VRING_BASE EINVAL': 'an index has 16 bits',
  'VHOST_SET_VRING_ADDR EINVAL':
    'the avail ring must be 2-aligned, the used ring and its log 4-aligned',
  'VHOST_NET_SET_BACKEND EFAULT': 'set the memory table and the addresses of the vring first',
  'VHOST_NET_SET_BACKEND EINVAL': 'the tap has no interface, or not any more',
  'VHOST_NET_SET_BACKEND ENOTSOCK': 'the backend must be a tap, a macvtap or a packet socket',
  'sched_setattr EPERM': 'needs CAP_SYS_NICE',
  'sched_setaffinity EPERM': 'needs CAP_SYS_NICE: the worker is a kernel thread',
  'TUNSETIFF EPERM': 'needs CAP_NET_ADMIN, or a tap that was created for this user',
  'TUNSETIFF EBUSY': 'somebody has this tap open: another process, or another port of this one',
  'TUNSETIFF EINVAL': 'an interface of that name is no tap, or differs in its multi_queue flag',
  'TUNGETIFF EBADFD': 'that descriptor has no interface, or not any more',
  'TUNGETIFF ENOLINK': 'the interface of that macvtap is gone',
  'TUNGETIFF ENOTTY': 'that descriptor is neither of a tap nor of a macvtap',
  'TUNGETDEVNETNS EINVAL': 'a macvtap does not tell its network namespace',
  'TUNSETOFFLOAD EINVAL': "a bit that this kernel's taps lack, or without one that it needs",
  'TUNGETDEVNETNS EPERM': NET_ADMIN,
  'TUNSETVNETHDRSZ EINVAL': 'a virtio-net header has at least 10 bytes',
  'TUNSETSTEERINGEBPF EINVAL': 'steering must be a descriptor of a socket filter in eBPF',
  'TUNATTACHFILTER EINVAL': 'that is no valid program of classic BPF',
  'open /dev/tap ENOENT':
    'udev did not make the node: mknod, with the numbers in /sys/class/macvtap',
  'open /dev/tap ENXIO':
    'that node is of another network namespace: give the right to mount, or netns',
  'open /dev/tap EACCES': 'this user needs read and write access to that node',
  'open /dev/tap EPERM': 'the device is not allowed here (device cgroup of a container?)',
  'open /dev/tap EBUSY': 'the macvtap has as many queues as it can have',
  'unshare EPERM': 'needs CAP_SYS_ADMIN, to find the device of a macvtap in another namespace',
  'mount EPERM': 'needs CAP_SYS_ADMIN, to find the device of a macvtap in another namespace',
  'mknod EPERM': 'needs CAP_MKNOD, to open the device of a macvtap in another namespace',
  'AF_PACKET EPERM': 'needs CAP_NET_RAW in the namespace of the interface',
  'AF_PACKET EAFNOSUPPORT': 'that descriptor is no packet socket',
  'fcntl EBADF': 'this process has no descriptor of that number',
  'RTM_NEWLINK EPERM': NET_ADMIN,
  'RTM_NEWLINK EBUSY': 'another macvlan, macvtap or bridge has that link to itself',
  'RTM_NEWLINK EINVAL': 'a macvtap is not possible above that link, or not in this mode',
  'RTM_NEWLINK EOPNOTSUPP': 'load the module: modprobe macvtap',
  'RTM_SETLINK EPERM': NET_ADMIN,
  'RTM_SETLINK EADDRNOTAVAIL': 'that is the address of a group: the first byte must be even',
  'RTM_NEWADDR EPERM': NET_ADMIN,
  EMFILE: 'this process has too many files open: ulimit -n',
  ENFILE: 'the system has too many files open: sysctl fs.file-max',
};

/** From the nearest to the most general. A namespace has a name of its own in its path, a macvtap a number. */
function hintFor(code: string, syscall: string, request: string, path = ''): string | undefined {
  const place = path.replace(/^(\/run\/netns\/|\/dev\/tap).*/, '$1');
  const room = request.replace(/^(VHOST_).*/, '$1');
  const keys = [`${request} ${code}`, `${room} ${code}`, `${syscall} ${place} ${code}`];
  keys.push(`${syscall} ${code}`, code);
  const key = keys.find((one) => Object.hasOwn(HINTS, one));
  return key === undefined ? undefined : HINTS[key];
}

/** The system refused a request. Shaped like Node's own system errors. */
export class VhostSystemError extends VhostError {
  /** Negative, as Node has it. */
  readonly errno: number;
  /** The path that the call was about. */
  readonly path?: string;

  /**
   * The error for an errno; its name and text are Node's.
   *
   * @param errno  Positive, as the kernel has it.
   * @param syscall  Such as `ioctl`.
   * @param request  Which of the many, such as `VHOST_SET_OWNER`; empty when there is only one.
   * @param path  The path that the call was about.
   * @param hint  What helps, where more is known than the other arguments say.
   */
  constructor(
    errno: number,
    readonly syscall: string,
    readonly request: string,
    path?: string,
    hint?: string,
  ) {
    const [code, text] = getSystemErrorMap().get(-errno) ??
      LINUX_ERRORS.get(-errno) ?? [`ERRNO_${String(errno)}`, 'unknown error'];
    const what = request === '' ? syscall : `${syscall} ${request}`;
    super(
      code,
      `${code}: ${text}, ${what}${path === undefined ? '' : ` '${path}'`}`,
      hint ?? hintFor(code, syscall, request, path),
    );
    this.errno = -errno;
    if (path !== undefined) this.path = path;
  }

  static {
    Object.defineProperty(this.prototype, 'name', { value: 'VhostSystemError', writable: true });
  }
}

const OVS_HINTS: Readonly<Record<OvsErrorCode, string>> = {
  ERR_VHOST_OVS_BRIDGE: 'ovs-vsctl add-br makes a bridge, ovs-vsctl show lists what there is',
  ERR_VHOST_OVS_DAEMON:
    'do ovsdb-server and ovs-vswitchd run? systemctl start openvswitch-switch; or name their database',
  ERR_VHOST_OVS_DENIED:
    "the database's socket is root's: run as root, or let this user write to it",
  ERR_VHOST_OVS_PORT: 'ovs-vsctl show and the log of ovs-vswitchd say more',
  ERR_VHOST_OVS_TOOL: 'install Open vSwitch: package openvswitch-switch',
};

/** Open vSwitch is not there, or said no. */
export class OvsError extends VhostError {
  /**
   * An error with a code, a sentence for people, and what helps.
   *
   * @param hint  Default: what usually does.
   */
  constructor(
    override readonly code: OvsErrorCode,
    message: string,
    /** The program that said so, with its arguments; empty when it was found in an answer. */
    readonly command: readonly string[],
    hint?: string,
  ) {
    super(code, message, hint ?? OVS_HINTS[code]);
  }

  static {
    Object.defineProperty(this.prototype, 'name', { value: 'OvsError', writable: true });
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
