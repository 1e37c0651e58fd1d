import { LINK_OPTIONS, checkBoolean, checkKnown, checkLinkOptions } from './link-options.js';
import { checkName } from './link-options.js';
import type { CheckedLinkOptions, LinkOptions } from './link-options.js';
import { misuse } from '../errors.js';
import {
  MACVLAN_MODE_BRIDGE,
  MACVLAN_MODE_PASSTHRU,
  MACVLAN_MODE_PRIVATE,
  MACVLAN_MODE_VEPA,
} from '../uapi/link.js';

/**
 * What a macvtap exchanges with the others above the same link.
 *
 * - `bridge`: frames between them go straight from one to the other.
 * - `vepa`: they go out, and come back if the switch outside sends them back.
 * - `private`: none, even if the switch sends them back.
 * - `passthru`: it has the link to itself, with the link's address, and gets every frame of it.
 */
export type MacvtapMode = 'bridge' | 'vepa' | 'private' | 'passthru';

/** The kernel's number of each. */
const MODES: Readonly<Record<MacvtapMode, number>> = {
  private: MACVLAN_MODE_PRIVATE,
  vepa: MACVLAN_MODE_VEPA,
  bridge: MACVLAN_MODE_BRIDGE,
  passthru: MACVLAN_MODE_PASSTHRU,
};

/** How to create a macvtap, or to attach to one. */
export interface MacvtapOptions extends LinkOptions {
  /** The interface's name, 1 to 15 bytes. An existing macvtap of that name is attached to. */
  macvtap: string;
  /** The interface that it is created above. Default: it exists. */
  link?: string;
  /** Only with `link`, and only of one that is created. Default: `bridge`. */
  mode?: MacvtapMode;
  /** Whether it stays after {@link Macvtap.close}. Default: one that was created goes, one that was there stays. */
  persistent?: boolean;
}

const KNOWN = ['macvtap', ...LINK_OPTIONS, 'link', 'mode', 'persistent'];

/** Options in the form in which the kernel wants them. */
export interface CheckedMacvtapOptions extends CheckedLinkOptions {
  readonly macvtap: string;
  readonly link: string | undefined;
  readonly mode: number;
  readonly persistent: boolean | undefined;
}

/** @throws {TypeError} or `RangeError`, naming the option that does not fit. */
export function checkMacvtapOptions(options: MacvtapOptions): CheckedMacvtapOptions {
  checkKnown(options, KNOWN);
  const { macvtap, link, mode, persistent } = options;
  checkName('macvtap', macvtap);
  if (link !== undefined) checkName('link', link);
  if (mode !== undefined && !Object.hasOwn(MODES, mode)) {
    throw misuse.range('mode', "'bridge', 'vepa', 'private' or 'passthru'", mode);
  }
  if (mode !== undefined && link === undefined) {
    throw misuse.range('mode', 'left out without link', mode);
  }
  checkBoolean('persistent', persistent);
  const common = checkLinkOptions(options);
  return { ...common, macvtap, link, mode: MODES[mode ?? 'bridge'], persistent };
}
