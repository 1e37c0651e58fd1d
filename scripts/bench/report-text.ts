import { isMissing, ratioText } from './results.js';
import type { Results, ScenarioResult, SideResult } from './results.js';
import { REFERENCE } from './scenarios.js';

type Row = readonly string[];

const HEAD: Row = [
  'side',
  'median',
  'min',
  'max',
  'app ns',
  'worker ns',
  `${REFERENCE} / side`,
  'A/A',
];

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}

function row(name: string, side: SideResult, scenario: ScenarioResult): Row {
  const figures = [side.median, side.min, side.max, side.appNsPerFrame, side.workerNsPerFrame];
  return [name, ...figures.map(whole), ...[side.ratio, scenario.aa].map(ratioText)];
}

function table(rows: readonly Row[]): string {
  const widths = HEAD.map((_, column) =>
    Math.max(...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  const pad = (cell: string, column: number) =>
    column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0);
  return rows.map((cells) => `  ${cells.map(pad).join('  ')}`.trimEnd()).join('\n');
}

function describeScenario(scenario: ScenarioResult): string {
  const rows: Row[] = [HEAD];
  const missing: string[] = [];
  for (const [name, side] of Object.entries(scenario.sides)) {
    if (isMissing(side)) missing.push(`  ${name}: not run: ${side.skipped}`);
    else rows.push(row(name, side, scenario));
  }
  const more = [...missing, ...exits(scenario)];
  return [`${scenario.name}, ${scenario.unit}`, table(rows), ...more].join('\n');
}

/** Where it was counted how often a guest's CPU came to user space. */
function exits({ sides }: ScenarioResult): string[] {
  const each = Object.entries(sides).flatMap(([name, side]) =>
    isMissing(side) || side.exitsToUser === undefined ? [] : [`${name} ${whole(side.exitsToUser)}`],
  );
  return each.length === 0 ? [] : [`  of them to user space: ${each.join(', ')}`];
}

/** The results as a person reads them. */
export function describe(results: Results): string {
  const { kernel, cpus, node, rounds, elsewhere } = results;
  const conditions =
    `Linux ${kernel}, ${String(cpus)} CPUs, Node ${node}, ${String(rounds)} rounds; ` +
    `the rest of the machine kept ${elsewhere.toFixed(2)} CPUs busy`;
  return `${[conditions, ...results.scenarios.map(describeScenario)].join('\n\n')}\n`;
}
