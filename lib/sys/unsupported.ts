import { VhostError, VhostSystemError } from '../errors.js';

/**
 * Behind what vhost-net hides that it does not know a request. One that nothing else takes ends among
 * those about a vring: without an owner that is `EPERM`, then the first four bytes of the argument
 * are the index of a vring, and only when there is one of that index it is `ENOTTY`.
 */
export const DEVICE_REQUEST: readonly string[] = ['EPERM', 'ENOBUFS', 'ENOTTY'];

/** The same of a request that is about a vring itself, and needs an owner: there they mean what they say. */
export const VRING_REQUEST: readonly string[] = ['ENOTTY'];

/**
 * Does what some kernels can't.
 *
 * @param codes  Errnos that mean so.
 * @param where  Which kernels can.
 * @throws {VhostError} `ERR_VHOST_UNSUPPORTED`, whatever the kernel said; that is the `cause`.
 */
export function orUnsupported<T>(codes: readonly string[], where: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    if (!(cause instanceof VhostSystemError) || !codes.includes(cause.code)) throw cause;
    const message = `this kernel's vhost-net has no ${cause.request}: it needs ${where}`;
    const error = new VhostError('ERR_VHOST_UNSUPPORTED', message);
    error.cause = cause;
    throw error;
  }
}
