#!/usr/bin/env node
// The command `vhost-net`. What a command needs is loaded by that command: `doctor` must be able to
// speak where the package itself can't be loaded.
import path from 'node:path';

import { KeptCode, placeOfCode } from './kept-code.js';
import type * as Vm from './vm.js';

const USAGE = `usage: vhost-net COMMAND

  doctor [--json]   what vhost-net can do on this machine; for each lack the reason, and what mends it.
                    Exit status 0 when ports can be opened here, else 1
  trace [--json] [--timeout SECONDS]
                    follows one frame through the ten steps of README's picture, each step observed in the
                    kernel's own tracing and in the rings. Needs root. Exit status 0 when all ten were, else 1
  forward A B [C...] [--ovs BRIDGE] [--queues N] [--json]
                    forwards Ethernet frames between backends, without a copy: two as by a cable, three and more
                    as a learning switch. A backend is tap:NAME, macvtap:LINK or packet:INTERFACE, each perhaps
                    with @NETNS. With --ovs the last tap becomes a port of that Open vSwitch bridge. Shows rates on a
                    terminal, and a summary at Ctrl-C. Exit status 0 when a signal ended it, 1 when a backend
                    could not be opened, or was lost and fewer than two were left
  vm --kernel FILE [--initrd FILE] [--append TEXT] [--memory MiB] [--cpus N] [--tap NAME [--mac MAC]]... [--ovs BRIDGE] [--reboot] [--json]
                    boots an unmodified Linux, with a network card on each tap, which with --ovs are ports of that
                    Open vSwitch bridge; the console is this terminal, Ctrl-A x leaves. A reset by the guest ends it, or with --reboot boots it anew. With --json
                    what was counted goes to stdout, the console to stderr. Exit status: the guest's`;

function usage(complaint: string): number {
  console.error(`vhost-net: ${complaint}\n\n${USAGE}`);
  return 2;
}

function help(): number {
  console.log(USAGE);
  return 0;
}

async function main([command, ...args]: readonly string[]): Promise<number> {
  if (args.includes('--help')) return help();
  switch (command) {
    case 'doctor': {
      const { doctor } = await import('./doctor.js');
      const other = args.find((arg) => arg !== '--json');
      return other === undefined ? doctor(args.length > 0) : usage(`doctor takes no '${other}'`);
    }
    case 'trace': {
      const { trace, traceOptions } = await import('./trace.js');
      const options = traceOptions(args);
      return typeof options === 'string' ? usage(`trace: ${options}`) : trace(options);
    }
    case 'forward': {
      const { forward, forwardOptions } = await import('./forward.js');
      const options = forwardOptions(args);
      return typeof options === 'string' ? usage(`forward: ${options}`) : forward(options);
    }
    case 'vm': {
      const code = new KeptCode(() => placeOfCode('vm'), path.dirname(__dirname));
      const { vm, vmOptions } = code.load(path.join(__dirname, 'vm.js')) as typeof Vm;
      const options = vmOptions(args);
      if (typeof options === 'string') return usage(`vm: ${options}`);
      return vm(options, () => {
        code.keep();
      });
    }
    case '--help':
    case '-h':
      return help();
    case undefined:
      return usage('what to do?');
    default:
      return usage(`there is no command '${command}'`);
  }
}

main(process.argv.slice(2)).then(
  (status) => {
    process.exitCode = status;
  },
  (error: unknown) => {
    console.error(error);
    process.exitCode = 70; // EX_SOFTWARE: a fault of ours.
  },
);
