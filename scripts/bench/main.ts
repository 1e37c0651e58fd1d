// npm run bench: measures on this machine when it has a vhost-net, else in the lab, and tells the result.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { TURNS, takesTurns } from './guest-turns.js';
import { compareInstructions } from './instructions.js';
import { busyElsewhere, processorTimes } from './machine.js';
import type { Plan, PlanPace } from './measure.js';
import { USAGE, parseOptions } from './options.js';
import type { Options } from './options.js';
import { page } from './report-html.js';
import { describe } from './report-text.js';
import type { Results } from './results.js';
import { SCENARIOS } from './scenarios.js';

const ROOT = path.join(__dirname, '../../..');

/** Seconds after which the lab is ended: a run, or a boot, takes 4 to 20, and a turn 5; on a busy machine far more. */
const LAB_SECONDS_PER_RUN = 40;
const LAB_SECONDS_OF_TURNS = 15 * TURNS;

/** Under emulation an engine has compiled all that is called often after ten seconds, and collected what its start left after fifteen. */
const REAL_TIME: PlanPace = { warmUpMs: 1000, engineWarmUpMs: 20_000, measureMs: 2000 };

/** When instructions are counted, this time is made of them. */
const COUNTED_TIME: PlanPace = { warmUpMs: 6000, engineWarmUpMs: 6000, measureMs: 1000 };

/** An engine that does the same work every time: no threads beside, no clocks, no chance. */
const REPEATABLE = ['--single-threaded', '--predictable'];

function hasDevice(): boolean {
  return spawnSync(path.join(ROOT, 'scripts/lab.d/host-device')).status === 0;
}

function labTimeout(options: Options): string {
  const seconds = SCENARIOS.filter(({ name }) => options.scenarios.includes(name))
    .map(
      ({ sides, kind }) =>
        (sides.length + 1) * (LAB_SECONDS_PER_RUN + (takesTurns(kind) ? LAB_SECONDS_OF_TURNS : 0)),
    )
    .reduce((a, b) => a + b, 0);
  return String(60 + options.rounds * seconds);
}

/** The command that measures, wherever it does. */
function command(options: Options, folder: string, file: string): string[] {
  const { rounds, scenarios, guests, sides, icount, kernel } = options;
  const isHere = !icount && kernel === undefined && hasDevice();
  const pace = icount ? COUNTED_TIME : REAL_TIME;
  const plan: Plan = { file, rounds, scenarios, sides, pace, ownKernel: !isHere };
  const node = [process.execPath, ...(icount ? REPEATABLE : [])];
  const measure = [
    'unshare',
    '-n',
    ...node,
    path.join(__dirname, 'measure.js'),
    JSON.stringify(plan),
  ];
  if (isHere) return measure;
  const lab = [path.join(ROOT, 'scripts/lab'), '--kernel', kernel ?? '6.12'];
  lab.push('--timeout', labTimeout(options), '--out', folder);
  if (icount) lab.push('--icount');
  // With one CPU a thread's time is its own instructions; with two, also the other's meanwhile. And an
  // emulator may run guests on several CPUs into code that one of them is just patching.
  if (icount || guests) lab.push('--cpus', '1');
  return [...lab, '--', ...measure];
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
  const options = parseOptions(process.argv.slice(2));
  if (options.help) {
    process.stdout.write(USAGE);
    return;
  }
  const results = await run(options);
  if (options.html !== undefined) fs.writeFileSync(options.html, page(results));
  process.stdout.write(options.json ? `${JSON.stringify(results)}\n` : describe(results));
  if (options.icount && !compareInstructions(results, options.update)) process.exitCode = 1;
}

main().catch((error: unknown) => {
  process.stderr.write(`bench: ${(error as Error).message}\n`);
  process.exitCode = 1;
});
