import { parseArgs } from 'node:util';

import type { MachineOptions } from '../index.js';

/** What the command was asked. */
export interface VmOptions {
  readonly machine: Omit<MachineOptions, 'console'>;
  readonly json: boolean;
}

const OPTIONS = {
  kernel: { type: 'string' },
  initrd: { type: 'string' },
  append: { type: 'string' },
  memory: { type: 'string' },
  cpus: { type: 'string' },
  tap: { type: 'string', multiple: true },
  mac: { type: 'string', multiple: true },
  ovs: { type: 'string' },
  reboot: { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

/** Reads the command line; a string is the complaint about it. */
export function vmOptions(args: readonly string[]): VmOptions | string {
  try {
    const { values, tokens } = parseArgs({ args: [...args], options: OPTIONS, tokens: true });
    const { kernel, initrd, append, memory, cpus, reboot, json = false } = values;
    if (kernel === undefined) return '--kernel FILE is needed';
    const ovs = values.ovs === undefined ? {} : { ovs: { bridge: values.ovs } };
    const net = cardsOf(tokens).map(({ tap, ...mac }) => ({ backend: { tap, ...ovs }, ...mac }));
    if (values.ovs !== undefined && net.length === 0) return '--ovs needs a --tap';
    const machine = {
      ...({ kernel, net, onReset: reboot ? 'reboot' : 'end' } as const),
      ...(initrd !== undefined && { initrd }),
      ...(append !== undefined && { commandLine: append }),
      ...(memory !== undefined && { memoryMiB: wholeNumber('--memory', memory) }),
      ...(cpus !== undefined && { cpus: wholeNumber('--cpus', cpus) }),
    };
    return { machine, json };
  } catch (error) {
    return (error as Error).message;
  }
}

interface Card {
  readonly tap: string;
  mac?: string;
}

/** An address is that of the tap that was named last. */
function cardsOf(tokens: readonly { kind: string; name?: string; value?: unknown }[]): Card[] {
  const cards: Card[] = [];
  for (const { name, value } of tokens) {
    if (name === 'tap') cards.push({ tap: String(value) });
    if (name !== 'mac') continue;
    const card = cards.at(-1);
    if (!card || card.mac !== undefined) throw new Error('each --mac needs a --tap before it');
    card.mac = String(value);
  }
  return cards;
}

function wholeNumber(option: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new Error(`${option} takes a whole number, not '${text}'`);
}
