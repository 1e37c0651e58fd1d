// npm run bench: measures on this machine when it has a vhost-net, else in the lab, and tells the result.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { busyElsewhere, processorTimes } from './machine.js';
import { describe } from './report-text.js';
import type { Results } from './results.js';
import { SCENARIOS } from './scenarios.js';

const ROOT = path.join(__dirname, '../../..');
const USAGE = `usage: npm run bench -- [scenario...] [--json] [--rounds N] [--kernel 6.1|6.12|7]

scenarios (default: all): ${SCENARIOS.map(({ name }) => name).join(' ')}`;

/** Seconds after which the lab is ended: a side of a scenario takes 5 to 6 in each round. */
const LAB_SECONDS_PER_RUN = 15;

interface Options {
  readonly scenarios: readonly string[];
  readonly json: boolean;
  readonly rounds: number;
  readonly kernel: string | undefined;
}

function parse(args: string[]): Options {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '5' },
      kernel: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) throw new Error(USAGE);
  const known = SCENARIOS.map(({ name }) => name);
  const scenarios = positionals.length > 0 ? positionals : known;
  for (const name of scenarios) if (!known.includes(name)) throw new Error(`no scenario ${name}\n${USAGE}`);
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number from 1 on');
  return { scenarios, rounds, json: values.json, kernel: values.kernel };
}

function hasDevice(): boolean {
  return spawnSync(path.join(ROOT, 'scripts/lab.d/host-device')).status === 0;
}

/** The command that measures, wherever it does. */
function command(options: Options, folder: string, file: string): string[] {
  const measure = ['unshare', '-n', process.execPath, path.join(__dirname, 'measure.js'), file];
  measure.push(String(options.rounds), ...options.scenarios);
  if (options.kernel === undefined && hasDevice()) return measure;
  const runs = SCENARIOS.filter(({ name }) => options.scenarios.includes(name))
    .map(({ sides }) => (sides.length + 1) * options.rounds)
    .reduce((a, b) => a + b, 0);
  const timeout = String(60 + LAB_SECONDS_PER_RUN * runs);
  const kernel = options.kernel ?? '6.12';
  const lab = [path.join(ROOT, 'scripts/lab'), '--kernel', kernel, '--timeout', timeout];
  return [...lab, '--out', folder, '--', ...measure];
}

async function run(options: Options): Promise<Results> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vhost-net-bench-'));
  try {
    const file = path.join(folder, 'results.json');
    const [program = '', ...args] = command(options, folder, file);
    const before = processorTimes();
    const child = spawn(program, args, { cwd: ROOT, stdio: ['ignore', 2, 2] });
    const [status] = (await once(child, 'close')) as [number | null];
    if (status !== 0) throw new Error(`measuring ended with status ${String(status)}`);
    const results = JSON.parse(fs.readFileSync(file, 'utf8')) as Results;
    return { ...results, elsewhere: busyElsewhere(before, processorTimes()) };
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

async function main(): Promise<void> {
  const options = parse(process.argv.slice(2));
  const results = await run(options);
  process.stdout.write(options.json ? `${JSON.stringify(results)}\n` : describe(results));
}

main().catch((error: unknown) => {
  process.stderr.write(`bench: ${(error as Error).message}\n`);
  process.exitCode = 1;
});
