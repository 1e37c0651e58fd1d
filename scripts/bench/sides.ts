import path from 'node:path';

/** What a side is told: which scenario, and on which interface. */
export interface Task {
  readonly kind: 'tx';
  readonly length: number;
  readonly tap: string;
}

/** One way to move frames, run as a program of its own. */
export interface Side {
  readonly name: string;
  /** The program and its arguments; it prints `ready` when it is at work, and goes on until it is ended. */
  command(task: Task): string[];
}

const SCRIPTS = path.join(__dirname, 'sides');
const NATIVE = path.join(__dirname, '../../bench');

function node(script: string, ...args: string[]): string[] {
  return [process.execPath, path.join(SCRIPTS, script), ...args];
}

function native(program: string, ...args: string[]): string[] {
  return [path.join(NATIVE, program), ...args];
}

const text = String;

/** Every side, in the order in which they are printed. */
export const SIDES: readonly Side[] = [
  {
    name: 'vhost-net',
    command: ({ kind, tap, length }) => node('port.js', kind, 'copy', tap, text(length)),
  },
  {
    name: 'vhost-net-inplace',
    command: ({ kind, tap, length }) => node('port.js', kind, 'inplace', tap, text(length)),
  },
  {
    name: 'c-ring',
    command: ({ kind, tap, length }) => native('c-ring', kind, 'copy', tap, text(length)),
  },
  {
    name: 'c-ring-inplace',
    command: ({ kind, tap, length }) => native('c-ring', kind, 'inplace', tap, text(length)),
  },
  {
    name: 'c-tap',
    command: ({ kind, tap, length }) => native('c-tap', kind, tap, text(length)),
  },
  {
    name: 'node-tap',
    command: ({ kind, tap, length }) =>
      native('with-tap', tap, ...node('node-tap.js', kind, text(length))),
  },
];
