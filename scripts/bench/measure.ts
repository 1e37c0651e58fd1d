// Runs scenarios where there is a vhost-net, in a network namespace that is its own.
// Usage: measure.js PLAN-AS-JSON
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';

import { isGuestKind } from './guest-sides.js';
import { runTurns, takesTurns } from './guest-turns.js';
import type { Contender } from './guest-turns.js';
import { disableIpv6 } from './network.js';
import { pairedRatio, summarize } from './results.js';
import type { Results, ScenarioResult, SideMissing, SideResult } from './results.js';
import { runSide } from './run-side.js';
import type { Run } from './run-side.js';
import { REFERENCE, SCENARIOS } from './scenarios.js';
import type { Scenario } from './scenarios.js';
import { SIDES } from './sides.js';
import type { Side } from './sides.js';
import type { Pace } from './traffic.js';
import { withZeroCopy } from './vhost-module.js';

/** Sides that are compiled while they run take longer until they have settled. */
export interface PlanPace extends Pace {
  readonly engineWarmUpMs: number;
}

/** What is to be measured. */
export interface Plan {
  /** Where the results go. */
  readonly file: string;
  readonly rounds: number;
  readonly scenarios: readonly string[];
  /** Only these; empty: all. */
  readonly sides: readonly string[];
  readonly pace: PlanPace;
  /** Nothing else needs this kernel: its modules may be loaded anew. */
  readonly ownKernel: boolean;
}

/** One side's runs in a scenario. The reference comes twice: equal sides, to see how much equal sides differ. */
class Entry implements Contender {
  readonly runs: Run[] = [];
  /** Why there are no more runs. */
  failure: string | undefined;

  constructor(
    readonly label: string,
    readonly side: Side,
    private readonly scenario: Scenario,
  ) {}

  done(run: Run): void {
    this.runs.push(run);
    this.#tell(`${Math.round(run.rate).toLocaleString('en')} ${this.scenario.unit}`);
  }

  failed(error: unknown): void {
    this.failure = (error as Error).message;
    this.#tell(this.failure);
  }

  /** @param reference  What it is compared with. */
  result(reference: readonly Entry[]): SideResult | SideMissing {
    if (this.failure !== undefined) return { skipped: this.failure };
    const isReference = this.side.name === REFERENCE;
    const those = reference.map(({ runs }) => runs);
    return summarize(this.runs, isReference ? 1 : pairedRatio(those, this.runs));
  }

  #tell(what: string): void {
    process.stderr.write(`bench: ${this.scenario.name} ${this.label}: ${what}\n`);
  }
}

function entriesFor(scenario: Scenario, plan: Plan): Entry[] {
  const isWanted = (name: string) => plan.sides.length === 0 || plan.sides.includes(name);
  const sides = SIDES.filter(({ name }) => scenario.sides.includes(name) && isWanted(name));
  const again = sides.filter(({ name }) => name === REFERENCE);
  return [
    ...sides.map((side) => new Entry(side.name, side, scenario)),
    ...again.map((side) => new Entry(`${side.name} (again)`, side, scenario)),
  ];
}

async function runEntry(entry: Entry, scenario: Scenario, pace: PlanPace): Promise<void> {
  // A guest's frames pass no program that is compiled meanwhile.
  const isCompiled = entry.side.engine === true && !isGuestKind(scenario.kind);
  const warmUpMs = isCompiled ? pace.engineWarmUpMs : pace.warmUpMs;
  try {
    entry.done(await runSide(entry.side, scenario, { ...pace, warmUpMs }));
  } catch (error) {
    entry.failed(error);
  }
}

async function runRound(entries: readonly Entry[], scenario: Scenario, pace: PlanPace) {
  const left = entries.filter(({ failure }) => failure === undefined);
  const { kind } = scenario;
  if (takesTurns(kind)) return runTurns(left, kind, pace);
  for (const entry of left) await runEntry(entry, scenario, pace);
}

async function runRounds(entries: readonly Entry[], scenario: Scenario, plan: Plan) {
  for (let round = 1; round <= plan.rounds; round++) {
    process.stderr.write(`bench: ${scenario.name}, round ${String(round)}\n`);
    // Every other round backwards: what drifts with time falls on all sides alike.
    await runRound(round % 2 === 0 ? [...entries].reverse() : entries, scenario, plan.pace);
  }
}

async function runScenario(scenario: Scenario, plan: Plan): Promise<ScenarioResult> {
  const entries = entriesFor(scenario, plan);
  const run = () => runRounds(entries, scenario, plan);
  if (!scenario.zeroCopy) await run();
  else {
    const cannot = await withZeroCopy(plan.ownKernel, run);
    if (cannot) for (const entry of entries) entry.failed(cannot);
  }
  const reference = entries.filter(
    ({ side, failure }) => side.name === REFERENCE && failure === undefined,
  );
  return {
    name: scenario.name,
    unit: scenario.unit,
    aa: selfRatio(reference),
    sides: Object.fromEntries(
      entries
        .filter(({ label, side }) => label === side.name)
        .map((entry) => [entry.label, entry.result(reference)]),
    ),
  };
}

function selfRatio([first, second]: readonly Entry[]): number | null {
  return (first && second && pairedRatio([second.runs], first.runs)) ?? null;
}

/** What the scenarios need that a machine may not have loaded. */
function prepare(): void {
  disableIpv6();
  spawnSync('modprobe', ['pktgen']);
}

async function main(plan: Plan): Promise<void> {
  prepare();
  const scenarios: ScenarioResult[] = [];
  for (const scenario of SCENARIOS) {
    if (plan.scenarios.includes(scenario.name)) scenarios.push(await runScenario(scenario, plan));
  }
  const results: Omit<Results, 'elsewhere'> = {
    kernel: os.release(),
    cpus: os.availableParallelism(),
    node: process.version,
    rounds: plan.rounds,
    scenarios,
  };
  fs.writeFileSync(plan.file, JSON.stringify(results));
}

void main(JSON.parse(process.argv[2] ?? '') as Plan);
