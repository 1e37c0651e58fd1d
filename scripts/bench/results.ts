import type { Run } from './run-side.js';

/** What a side came to over all rounds. */
export interface SideResult {
  readonly min: number;
  readonly median: number;
  readonly max: number;
  readonly appNsPerFrame: number;
  readonly workerNsPerFrame: number;
  /** How often a guest's CPU came to user space, for each thousand frames; where that was counted. */
  readonly exitsToUser?: number;
  /** The reference's rate to this side's: {@link pairedRatio}. */
  readonly ratio?: number;
}

/** Why a side has no figures. */
export interface SideMissing {
  readonly skipped: string;
}

export interface ScenarioResult {
  readonly name: string;
  readonly unit: string;
  /** The reference side to itself, paired: how much equal sides differ in this run; null without that side. */
  readonly aa: number | null;
  readonly sides: Readonly<Record<string, SideResult | SideMissing>>;
}

/** What was measured, and on what. */
export interface Results {
  readonly kernel: string;
  readonly cpus: number;
  readonly node: string;
  readonly rounds: number;
  /** How many CPUs of the machine something else kept busy meanwhile. */
  readonly elsewhere: number;
  readonly scenarios: readonly ScenarioResult[];
}

export function isMissing(side: SideResult | SideMissing): side is SideMissing {
  return 'skipped' in side;
}

/** A ratio in a table. */
export function ratioText(ratio: number | null | undefined): string {
  return ratio?.toFixed(2) ?? '-';
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/**
 * What one side does beside another, run by run: those that followed each other within one round are
 * compared, and of that the median is taken. What a machine does faster or slower a minute later falls on
 * both. Undefined without runs of both.
 *
 * @param those  Several: what they do on average.
 */
export function pairedRatio(
  those: readonly (readonly Run[])[],
  these: readonly Run[],
): number | undefined {
  const ratios = these.flatMap(({ rate }, turn) => {
    const beside = those.flatMap((runs) => runs[turn]?.rate ?? []);
    return beside.length === 0 ? [] : [beside.reduce((a, b) => a + b) / beside.length / rate];
  });
  return ratios.length === 0 ? undefined : median(ratios);
}

/** Medians over all runs. */
export function summarize(runs: readonly Run[], ratio?: number): SideResult {
  const rates = runs.map(({ rate }) => rate);
  const exits = runs.flatMap(({ exitsToUser }) => exitsToUser ?? []);
  return {
    min: Math.min(...rates),
    median: median(rates),
    max: Math.max(...rates),
    appNsPerFrame: median(runs.map(({ appNsPerFrame }) => appNsPerFrame)),
    workerNsPerFrame: median(runs.map(({ workerNsPerFrame }) => workerNsPerFrame)),
    ...(exits.length > 0 && { exitsToUser: median(exits) }),
    ...(ratio !== undefined && { ratio }),
  };
}
