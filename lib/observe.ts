/**
 * What can be watched of this package on `diagnostics_channel`, and is printed for
 * `NODE_DEBUG=vhost-net`. Nobody there costs one look at a flag.
 */
import { channel, subscribe } from 'node:diagnostics_channel';
import { debuglog, inspect } from 'node:util';

import { VhostSystemError } from './errors.js';
import { featureBits } from './uapi/features.js';
import * as tun from './uapi/tun.js';

const log = debuglog('vhost-net');

/** One channel, as whoever publishes on it needs it. */
export interface Observable<Message> {
  /** Whether anybody listens. */
  readonly hasSubscribers: boolean;
  /** Tells all who do. */
  publish(message: Message): void;
}

/** A channel of this package whose messages are printed for `NODE_DEBUG=vhost-net`. */
export function observable<Message>(
  name: string,
  print: (message: Message) => string,
): Observable<Message> {
  if (log.enabled) {
    subscribe(name, (message) => {
      log('%s', print(message as Message));
    });
  }
  return channel(name);
}

/** What an ioctl was given, by name. Feature sets are `features`, addresses bigint. */
export type IoctlArguments = Readonly<Record<string, unknown>>;

/** One ioctl that the kernel was asked, on the channel `vhost-net:ioctl`. */
export interface IoctlMessage {
  /** Number of the descriptor. */
  readonly fd: number;
  /** The kernel's name for it, such as `VHOST_SET_VRING_NUM`. */
  readonly request: string;
  /** What it was given, decoded. */
  readonly arguments: IoctlArguments;
  /** What it answered, decoded; undefined when there is no answer but that it worked. */
  readonly result: unknown;
  /** Why the kernel refused; undefined when it did not. */
  readonly error: VhostSystemError | undefined;
  /** How long it took. */
  readonly nanoseconds: number;
}

const ioctls = observable('vhost-net:ioctl', printIoctl);

/**
 * Does one ioctl, observed.
 *
 * @param call  The ioctl itself. What it throws but a system error was thrown before there was an ioctl.
 */
export function ioctl<T>(fd: number, request: string, args: IoctlArguments, call: () => T): T {
  if (!ioctls.hasSubscribers) return call();
  const began = process.hrtime.bigint();
  const publish = (result: unknown, error?: VhostSystemError) => {
    const nanoseconds = Number(process.hrtime.bigint() - began);
    const message: IoctlMessage = { fd, request, arguments: args, result, error, nanoseconds };
    ioctls.publish(message);
  };
  let result: T;
  try {
    result = call();
  } catch (error) {
    if (error instanceof VhostSystemError) publish(undefined, error);
    throw error;
  }
  publish(result);
  return result;
}

/** One line in the manner of strace. */
function printIoctl({ fd, request, arguments: args, result, error }: IoctlMessage): string {
  const given = printFields(args, request);
  const fields = given === '' ? '' : `, {${given}}`;
  const answer = result === undefined ? '' : ` => ${printValue(result, request, 'result')}`;
  const end = error ? `-1 ${error.code} (${error.message.split(/: |, /)[1] ?? ''})` : '0';
  return `ioctl(${String(fd)}, ${request}${fields}${answer}) = ${end}`;
}

function printFields(fields: object, request: string): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}=${printValue(value, request, name)}`)
    .join(', ');
}

/** Sets by the names of their bits, descriptors by their numbers, what else is a bigint as an address. */
function printValue(value: unknown, request: string, name: string): string {
  if (typeof value === 'bigint') {
    return isFeatures(request, name)
      ? printSet(featureBits(value).map((one) => one.name))
      : `0x${value.toString(16)}`;
  }
  const flags = FLAGS[request];
  const isFlags = name === 'flags' || request === 'TUNGETFEATURES';
  if (flags && isFlags && typeof value === 'number') return printFlags(value, flags);
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) {
    return inspect(value, { breakLength: Infinity, maxArrayLength: 16 });
  }
  if (Array.isArray(value)) {
    return `[${value.map((one) => printValue(one, request, name)).join(', ')}]`;
  }
  const { fd } = value as { fd?: unknown };
  return typeof fd === 'number' ? String(fd) : `{${printFields(value, request)}}`;
}

function isFeatures(request: string, name: string): boolean {
  return name === 'features' || request.startsWith('VHOST_GET_FEATURES');
}

/** What flags of a request are. */
const FLAGS: Readonly<Record<string, RegExp>> = {
  TUNSETIFF: /^IFF_/,
  TUNGETIFF: /^IFF_/,
  TUNGETFEATURES: /^IFF_/,
  TUNSETOFFLOAD: /^TUN_F_/,
};

/** What has no name here stays a number. */
function printFlags(value: number, which: RegExp): string {
  const known = Object.entries(tun).filter(
    ([name, bit]) => which.test(name) && (value & bit) !== 0,
  );
  const rest = known.reduce((left, [, bit]) => left & ~bit, value);
  const names = known.map(([name]) => name);
  return printSet(rest === 0 ? names : [...names, `0x${rest.toString(16)}`]);
}

const printSet = (names: readonly string[]) => `[${names.join('|')}]`;
