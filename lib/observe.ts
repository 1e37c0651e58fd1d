/**
 * What can be watched of this package on `diagnostics_channel`, and is printed for
 * `NODE_DEBUG=vhost-net`. Nobody there costs one look at a flag.
 */
import { channel, subscribe } from 'node:diagnostics_channel';
import { debuglog, inspect } from 'node:util';

import { VhostSystemError } from './errors.js';
import { featureBits } from './uapi/features.js';

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
  const given = Object.entries(args).map(([name, value]) => `${name}=${printValue(value, name)}`);
  const fields = given.length === 0 ? '' : `, {${given.join(', ')}}`;
  const answer = result === undefined ? '' : ` => ${printValue(result, request)}`;
  const end = error ? `-1 ${error.code} (${error.message.split(/: |, /)[1] ?? ''})` : '0';
  return `ioctl(${String(fd)}, ${request}${fields}${answer}) = ${end}`;
}

/** Feature sets by their names, what else is a bigint as an address. */
function printValue(value: unknown, of: string): string {
  if (typeof value !== 'bigint') return inspect(value, { breakLength: Infinity, depth: 4 });
  if (of !== 'features' && !of.startsWith('VHOST_GET_FEATURES')) return `0x${value.toString(16)}`;
  return `[${featureBits(value)
    .map(({ name }) => name)
    .join('|')}]`;
}
