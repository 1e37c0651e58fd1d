import { parseArgs } from 'node:util';

import { isGuestKind } from './guest-sides.js';
import { COUNTED_SIDES } from './instructions.js';
import { SCENARIOS } from './scenarios.js';
import { SIDES } from './sides.js';

const SCENARIO_NAMES = SCENARIOS.map(({ name }) => name);
/** On request: they take minutes, and in the lab they are measured on one CPU. */
const GUEST_SCENARIOS = SCENARIOS.filter(({ kind }) => isGuestKind(kind)).map(({ name }) => name);
const USUAL_SCENARIOS = SCENARIO_NAMES.filter((name) => !GUEST_SCENARIOS.includes(name));
const SIDE_NAMES = SIDES.map(({ name }) => name);

export const USAGE = `usage: npm run bench -- [scenario...] [options]

  --json                 the result as JSON
  --html FILE            also a report with plots
  --rounds N             how often each side runs (default 5)
  --side NAME            only this side; may be given more than once
  --kernel 6.1|6.12|7    in the lab, with this kernel
  --icount               count instructions instead, in the lab, and compare with what was kept
  --icount --update      and keep the new figures

scenarios (default: all): ${USUAL_SCENARIOS.join(' ')}
scenarios of guests (on request): ${GUEST_SCENARIOS.join(' ')}
sides (default: all): ${SIDE_NAMES.join(' ')}
`;

/** What npm run bench was asked for. */
export interface Options {
  readonly help: boolean;
  readonly scenarios: readonly string[];
  /** Whether they are of guests. */
  readonly guests: boolean;
  /** Empty: all. */
  readonly sides: readonly string[];
  readonly json: boolean;
  /** Where a report goes, besides. */
  readonly html: string | undefined;
  readonly rounds: number;
  readonly kernel: string | undefined;
  readonly icount: boolean;
  readonly update: boolean;
}

function checkNames(what: string, names: readonly string[], known: readonly string[]): void {
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`no ${what} ${unknown}\n\n${USAGE}`);
}

function wholeNumber(option: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text))
    throw new Error(`${option} takes a whole number from 1 on, not ${text}`);
  return Number(text);
}

/** @throws {Error} With the usage in it, when there is no such thing. */
export function parseOptions(args: string[]): Options {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h', default: false },
      json: { type: 'boolean', default: false },
      html: { type: 'string' },
      rounds: { type: 'string' },
      side: { type: 'string', multiple: true, default: [] },
      kernel: { type: 'string' },
      icount: { type: 'boolean', default: false },
      update: { type: 'boolean', default: false },
    },
  });
  const { help, json, html, side, kernel, icount, update } = values;
  const every = icount ? ['tx-64'] : USUAL_SCENARIOS;
  const scenarios = positionals.length > 0 ? positionals : every;
  const sides = icount && side.length === 0 ? COUNTED_SIDES : side;
  checkNames('scenario', scenarios, SCENARIO_NAMES);
  checkNames('side', sides, SIDE_NAMES);
  const guests = scenarios.some((name) => GUEST_SCENARIOS.includes(name));
  if (guests && (icount || scenarios.some((name) => USUAL_SCENARIOS.includes(name)))) {
    throw new Error(`scenarios of guests are measured by themselves\n\n${USAGE}`);
  }
  // Instructions are the same in every round, or something is wrong: the reference runs twice anyway.
  const rounds = wholeNumber('--rounds', values.rounds ?? (icount ? '1' : '5'));
  return { help, scenarios, guests, sides, json, html, rounds, kernel, icount, update };
}
