import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';

import type { PortOptions } from '../index.js';

/** A backend as it is named on the command line. */
export interface BackendName {
  /** The same as it was written. */
  readonly text: string;
  readonly kind: 'tap' | 'macvtap' | 'packet';
  /** The interface: its own name, for a macvtap that of the link that it is made on. */
  readonly name: string;
  /** The network namespace that the interface is in; undefined: this one. */
  readonly netns: string | undefined;
}

/** What the command was asked. */
export interface ForwardOptions {
  readonly backends: readonly BackendName[];
  /** The Open vSwitch bridge that the last of the taps becomes a port of. */
  readonly ovs: string | undefined;
  readonly queues: number;
  readonly json: boolean;
}

const MOST_QUEUES = 8;

/** Bytes of an interface's name. */
const LONGEST_NAME = 15;

const OPTIONS = {
  json: { type: 'boolean' },
  ovs: { type: 'string' },
  queues: { type: 'string' },
} as const;

/** Reads the command line; a string is the complaint about it. */
export function forwardOptions(args: readonly string[]): ForwardOptions | string {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: OPTIONS,
      allowPositionals: true,
    });
    const { json = false, ovs, queues = '1' } = values;
    const backends = positionals.map(backendName);
    return complaint(backends, ovs, queues) ?? { backends, ovs, queues: Number(queues), json };
  } catch (error) {
    return (error as Error).message;
  }
}

const KINDS = ['tap', 'macvtap', 'packet'] as const;

/** @throws {Error} The text names no backend. */
function backendName(text: string): BackendName {
  const [, prefix, name = '', netns] = /^([a-z]+):([^@]+)(?:@(.+))?$/.exec(text) ?? [];
  const kind = KINDS.find((one) => one === prefix);
  if (kind === undefined) {
    const forms = KINDS.map((one) => `${one}:NAME`).join(', ');
    throw new Error(`a backend is one of ${forms}, each perhaps with @NETNS, not '${text}'`);
  }
  return { text, kind, name, netns };
}

function complaint(
  backends: readonly BackendName[],
  ovs: string | undefined,
  queues: string,
): string | undefined {
  const twice = backends.find(({ text }, i) => backends.slice(0, i).some((b) => b.text === text));
  if (twice) return `'${twice.text}' can be given only once`;
  if (backends.length < 2) return 'it takes two backends or more, such as tap:vn0 tap:vn1';
  if (ovs === '') return '--ovs takes the name of a bridge';
  if (ovs !== undefined && !backends.some(({ kind }) => kind === 'tap')) {
    return '--ovs needs a tap among the backends: that becomes a port of the bridge';
  }
  if (/^[1-9]\d*$/.test(queues) && Number(queues) <= MOST_QUEUES) return undefined;
  return `--queues takes a number of queue pairs, 1 to ${String(MOST_QUEUES)}, not '${queues}'`;
}

/** How the ports of the command are opened, in the order of the command line. */
export function portOptions({ backends, ovs, queues }: ForwardOptions): PortOptions[] {
  const lastTap = backends.findLast(({ kind }) => kind === 'tap');
  return backends.map((backend) => ({
    backend: backendOptions(backend, backend === lastTap ? ovs : undefined),
    offloads: 'auto',
    ...(queues > 1 && { queuePairs: queues }),
  }));
}

function backendOptions(
  { kind, name, netns }: BackendName,
  bridge: string | undefined,
): PortOptions['backend'] {
  const place = netns === undefined ? {} : { netns };
  const ovs = bridge === undefined ? {} : { ovs: { bridge } };
  switch (kind) {
    case 'tap':
      return { tap: name, ...place, ...ovs };
    case 'macvtap':
      // Only with the link to itself it gets frames that are for others.
      return {
        macvtap: macvtapName(name),
        link: name,
        mode: 'passthru',
        persistent: false,
        ...place,
      };
    case 'packet':
      return { packet: name, ...place };
  }
}

/** Follows from the link: the next command takes over what a killed one has left there. */
function macvtapName(link: string): string {
  const name = `mvt-${link}`;
  if (Buffer.byteLength(name) <= LONGEST_NAME) return name;
  const digest = createHash('sha256').update(link).digest('hex');
  return `mvt-${digest}`.slice(0, LONGEST_NAME);
}
