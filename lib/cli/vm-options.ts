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
    const { values } = parseArgs({ args: [...args], options: OPTIONS });
    const { kernel, initrd, append, memory, cpus, reboot, json = false } = values;
    if (kernel === undefined) return '--kernel FILE is needed';
    const { tap: taps = [], mac: macs = [] } = values;
    if (macs.length > taps.length) return 'there are more --mac than --tap';
    if (values.ovs !== undefined && taps.length === 0) return '--ovs needs a --tap';
    const ovs = values.ovs === undefined ? {} : { ovs: { bridge: values.ovs } };
    const net = taps.map((tap, i) => {
      const mac = macs[i];
      return { backend: { tap, ...ovs }, ...(mac !== undefined && { mac }) };
    });
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

function wholeNumber(option: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new Error(`${option} takes a whole number, not '${text}'`);
}
