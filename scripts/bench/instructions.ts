import fs from 'node:fs';
import path from 'node:path';

import { isMissing } from './results.js';
import type { Results } from './results.js';

/** Those whose instructions are kept: the package's, and what they would be in C. */
export const COUNTED_SIDES = [
  'vhost-net',
  'vhost-net-packed',
  'vhost-net-inplace',
  'c-ring',
  'c-ring-inplace',
] as const;

const FILE = path.join(__dirname, '../../../scripts/bench/instructions.json');

/** The same program differs by less than this from one run to the next. */
const TOLERANCE = 0.01;

/** Instructions for each frame. */
interface Cost {
  readonly app: number;
  readonly worker: number;
}

/** By scenario and side. */
type Costs = Record<string, Record<string, Cost>>;

function costs(results: Results): Costs {
  const all: Costs = {};
  for (const { name, sides } of results.scenarios) {
    const counted: Record<string, Cost> = {};
    for (const [side, result] of Object.entries(sides)) {
      if (isMissing(result)) continue;
      const { appNsPerFrame, workerNsPerFrame } = result;
      counted[side] = { app: Math.round(appNsPerFrame), worker: Math.round(workerNsPerFrame) };
    }
    all[name] = counted;
  }
  return all;
}

function kept(): Costs {
  return fs.existsSync(FILE) ? (JSON.parse(fs.readFileSync(FILE, 'utf8')) as Costs) : {};
}

/** One line about one thread; what it costs more than it did. */
function compareOne(what: string, now: number, before: number | undefined): boolean {
  if (before === undefined) {
    process.stderr.write(`bench: ${what}: ${String(now)} instructions a frame, nothing kept\n`);
    return true;
  }
  const isDearer = now > before * (1 + TOLERANCE);
  const change = `${((now / before - 1) * 100).toFixed(1)} %`;
  const verdict = isDearer ? ': dearer than before' : '';
  process.stderr.write(
    `bench: ${what}: ${String(now)} instructions a frame, ${String(before)} kept (${change})${verdict}\n`,
  );
  return !isDearer;
}

function compareAll(now: Costs, before: Costs): boolean {
  let isFine = true;
  for (const [scenario, sides] of Object.entries(now)) {
    for (const [side, cost] of Object.entries(sides)) {
      const old = before[scenario]?.[side];
      const what = `${scenario} ${side}`;
      isFine = compareOne(`${what} driver`, cost.app, old?.app) && isFine;
      isFine = compareOne(`${what} worker`, cost.worker, old?.worker) && isFine;
    }
  }
  return isFine;
}

/**
 * Compares instructions with those that are kept in the repository.
 *
 * @param update  Keep the new ones.
 * @returns Whether nothing became dearer.
 */
export function compareInstructions(results: Results, update: boolean): boolean {
  const now = costs(results);
  const before = kept();
  const isFine = compareAll(now, before);
  if (!update) return isFine;
  fs.writeFileSync(FILE, `${JSON.stringify({ ...before, ...now }, null, 2)}\n`);
  return true;
}
