import { isMissing, ratioText } from './results.js';
import type { Results, ScenarioResult, SideResult } from './results.js';
import { REFERENCE } from './scenarios.js';

const BAR = 22;
const LABEL = 150;
const PLOT = 480;
const FIGURE = 130;

const STYLE = `
  :root { color-scheme: light dark; --bar: #8aa4c8; --ours: #2f6fb5; --ink: #1c2430; --faint: #66707e; --paper: #fff; --line: #d5dae1 }
  @media (prefers-color-scheme: dark) {
    :root { --bar: #54698a; --ours: #6aa9ee; --ink: #e4e8ee; --faint: #9aa4b2; --paper: #14181e; --line: #333b46 }
  }
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink); background: var(--paper) }
  h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
  p, figcaption { color: var(--faint) } figure { margin: 0 }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin-top: .6rem }
  th, td { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid var(--line) }
  th:first-child, td:first-child { text-align: left } th { font-weight: 600 }
  svg { max-width: 100%; height: auto; display: block } text { fill: var(--ink); font-size: 13px }
  .bar { fill: var(--bar) } .ours { fill: var(--ours) } .spread { stroke: var(--ink); stroke-width: 1.5 }`;

type Measured = readonly [name: string, side: SideResult];

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${String(character.charCodeAt(0))};`);
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}

function measured(scenario: ScenarioResult): Measured[] {
  return Object.entries(scenario.sides).flatMap(([name, side]) =>
    isMissing(side) ? [] : [[name, side] as const],
  );
}

/** One bar for each side, with a line from the least of its runs to the most. */
function plot(scenario: ScenarioResult): string {
  const sides = measured(scenario);
  const most = Math.max(...sides.map(([, { max }]) => max));
  const x = (value: number) => (LABEL + (value / most) * PLOT).toFixed(1);
  const bars = sides.map(([name, { min, median, max }], i) => {
    const y = i * BAR;
    const middle = String(y + BAR / 2 - 1);
    const width = ((median / most) * PLOT).toFixed(1);
    const kind = name.startsWith(REFERENCE) ? 'ours' : 'bar';
    return `
    <text x="${String(LABEL - 8)}" y="${String(y + 15)}" text-anchor="end">${escape(name)}</text>
    <rect class="${kind}" x="${String(LABEL)}" y="${String(y + 2)}" width="${width}" height="${String(BAR - 6)}"/>
    <line class="spread" x1="${x(min)}" x2="${x(max)}" y1="${middle}" y2="${middle}"/>
    <text x="${String(LABEL + PLOT + 8)}" y="${String(y + 15)}">${whole(median)}</text>`;
  });
  const size = `0 0 ${String(LABEL + PLOT + FIGURE)} ${String(sides.length * BAR)}`;
  return `<svg viewBox="${size}" role="img" aria-label="${escape(scenario.name)}">${bars.join('')}\n  </svg>`;
}

function row([name, side]: Measured, scenario: ScenarioResult): string {
  const { median, min, max, appNsPerFrame, workerNsPerFrame } = side;
  const figures = [median, min, max, appNsPerFrame, workerNsPerFrame].map(whole);
  const cells = [escape(name), ...figures, ...[side.ratio, scenario.aa].map(ratioText)];
  return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
}

function table(scenario: ScenarioResult): string {
  const names = [
    'side',
    'median',
    'min',
    'max',
    'app ns',
    'worker ns',
    `${REFERENCE} / side`,
    'A/A',
  ];
  const head = names.map((name) => `<th>${name}</th>`).join('');
  const rows = measured(scenario).map((side) => row(side, scenario));
  return `<table><tr>${head}</tr>${rows.join('\n')}</table>`;
}

/** Where it was counted how often a guest's CPU came to user space. */
function exits({ sides }: ScenarioResult): string {
  const each = Object.entries(sides).flatMap(([name, side]) =>
    isMissing(side) || side.exitsToUser === undefined
      ? []
      : [`${escape(name)} ${whole(side.exitsToUser)}`],
  );
  return each.length === 0 ? '' : `<p>Of them to user space: ${each.join(', ')}</p>`;
}

function section(scenario: ScenarioResult): string {
  const missing = Object.entries(scenario.sides).flatMap(([name, side]) =>
    isMissing(side) ? [`<p>${escape(name)}: not run: ${escape(side.skipped)}</p>`] : [],
  );
  return `
  <h2>${escape(scenario.name)}</h2>
  <figure>
  ${plot(scenario)}
  <figcaption>${escape(scenario.unit)}: median, and from the least of the runs to the most</figcaption>
  </figure>
  ${table(scenario)}
  ${missing.join('\n')}
  ${exits(scenario)}`;
}

/** The results as one page that needs nothing else. */
export function page(results: Results): string {
  const { kernel, cpus, node, rounds, elsewhere } = results;
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>vhost-net benchmark</title>
<style>${STYLE}
</style>
<h1>vhost-net benchmark</h1>
<p>Linux ${escape(kernel)}, ${String(cpus)} CPUs, Node ${escape(node)}, ${String(rounds)} rounds, sides taking turns.
The rest of the machine kept ${elsewhere.toFixed(2)} CPUs busy.
<b>A/A</b> is ${REFERENCE} against itself: as much do equal sides differ in this run.
Times are CPU time for each frame: of the program (all its threads), and of the kernel's worker.</p>
${results.scenarios.map(section).join('\n')}
</html>
`;
}
