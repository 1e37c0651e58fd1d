import { VhostError, VhostSystemError } from '../errors.js';

/** One thing that was looked at. */
export interface Check {
  /** What. */
  readonly name: string;
  /** Whether driver mode needs it; else it is good for something, and `detail` says for what. */
  readonly required: boolean;
  /** Whether it is there. */
  readonly ok: boolean;
  /** What was found; when it is not there, the reason. */
  readonly detail: string;
  /** What a root shell of this machine can do about it. Absent: nothing that is one command. */
  readonly remedy?: string;
}

/** What is known of a thing once it was tried. */
export interface Finding {
  readonly ok: boolean;
  readonly detail: string;
  readonly remedy?: string | undefined;
}

/** A check of what was found. */
export function check(name: string, required: boolean, finding: Finding): Check {
  const { ok, detail, remedy } = finding;
  return { name, required, ok, detail, ...(remedy !== undefined && { remedy }) };
}

/** What an error says to somebody who may mend it. */
export function reason(error: unknown): string {
  const { message } = error as Error;
  return error instanceof VhostSystemError && error.hint !== undefined
    ? `${message} (${error.hint})`
    : message;
}

/** The name of the errno, or the code of this package. */
export function codeOf(error: unknown): string {
  return error instanceof VhostError ? error.code : '';
}
