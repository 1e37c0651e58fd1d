import type { IoctlTrace, TracedIoctl } from './ioctl-trace.js';
import { featureBits } from '#lib/uapi/features';

const INTRODUCTION = `# What each kernel does

Written by \`npm run test:kernels\` from the ioctls that the tests of the kernel tier made, each as this package's channel
\`vhost-net:ioctl\` told it; do not edit. What tests do in processes of their own is not counted.
`;

/** The text of docs/kernels.md, from the traces of one run of the tests on each kernel. */
export function kernelTables(traces: readonly IoctlTrace[]): string {
  const kernels = [...traces].sort((a, b) =>
    a.release.localeCompare(b.release, 'en', { numeric: true }),
  );
  const parts = [files(kernels), features(kernels), requests(kernels), refusals(kernels)];
  return [INTRODUCTION, ...parts].join('\n');
}

/** Those whose tests made an ioctl, by the names that --only takes. */
function files(kernels: readonly IoctlTrace[]): string {
  const names = kernels.flatMap(({ ioctls }) => ioctls.map(({ test }) => test.split(':')[0] ?? ''));
  return `Test files of this run: ${[...new Set(names)].sort().join(', ')}.\n`;
}

const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [row(head), `|${'---|'.repeat(head.length)}`, ...rows.map(row)];
  return lines.join('\n') + '\n';
}

const releases = (kernels: readonly IoctlTrace[]) => kernels.map(({ release }) => release);

/** Titles may hold what a table would take for its own. */
const plain = (text: string) => text.replaceAll('|', '\\|');

function features(kernels: readonly IoctlTrace[]): string {
  const sets = kernels.map((kernel) => BigInt(`0x${kernel.features}`));
  const all = sets.reduce((union, set) => union | set, 0n);
  const rows = featureBits(all).map(({ bit, name, meaning }) => [
    String(bit),
    name.replace(/\w+/g, '`$&`'),
    meaning,
    ...sets.map((set) => (((set >> BigInt(bit)) & 1n) === 1n ? 'yes' : '')),
  ]);
  const head = ['bit', 'name', 'what it brings', ...releases(kernels)];
  return `## Feature bits that vhost-net offers\n\n${table(head, rows)}`;
}

/** Those of all kernels that fit, by some key, in the order of the keys. */
function grouped(
  kernels: readonly IoctlTrace[],
  fits: (ioctl: TracedIoctl) => boolean,
  key: (ioctl: TracedIoctl) => string,
): [key: string, ioctls: TracedIoctl[][]][] {
  const found = new Map<string, TracedIoctl[][]>();
  kernels.forEach(({ ioctls }, index) => {
    for (const ioctl of ioctls.filter(fits)) {
      const columns = found.get(key(ioctl)) ?? kernels.map(() => []);
      columns[index]?.push(ioctl);
      found.set(key(ioctl), columns);
    }
  });
  return [...found].sort(([a], [b]) => a.localeCompare(b));
}

const sum = (ioctls: readonly TracedIoctl[]) =>
  ioctls.reduce((total, { count }) => total + count, 0);

/** How often it worked, and in which test it did first. */
function requests(kernels: readonly IoctlTrace[]): string {
  const groups = grouped(
    kernels,
    () => true,
    ({ request }) => request,
  );
  const rows = groups.map(([request, columns]) => {
    const worked = columns.map((ioctls) => ioctls.filter(({ code }) => code === ''));
    const first = worked.flat()[0] ?? columns.flat()[0];
    const counts = worked.map((ioctls) => (ioctls.length === 0 ? 'refused' : String(sum(ioctls))));
    return [`\`${request}\``, ...counts, plain(first?.test ?? '')];
  });
  const head = ['ioctl', ...releases(kernels), 'a test that made it'];
  return `## Ioctls, and how often they worked\n\n${table(head, rows)}`;
}

/** Which errno, in which test, on which kernels. */
function refusals(kernels: readonly IoctlTrace[]): string {
  const groups = grouped(
    kernels,
    ({ code }) => code !== '',
    ({ request, test }) => `\`${request}\` | ${plain(test)}`,
  );
  const rows = groups.map(([key, columns]) => [
    key,
    ...columns.map((ioctls) => [...new Set(ioctls.map(({ code }) => `\`${code}\``))].join(' ')),
  ]);
  const head = ['ioctl', 'test', ...releases(kernels)];
  return `## Refusals: the errnos seen\n\n${table(head, alikeAsOne(rows))}`;
}

/** Rows of `ioctl | test` and errnos: those of one ioctl that say the same are one, of the first test. */
function alikeAsOne(rows: readonly (readonly string[])[]): string[][] {
  const found = new Map<string, { key: string; errnos: readonly string[]; more: number }>();
  for (const [key = '', ...errnos] of rows) {
    const alike = [key.split(' | ', 1)[0], ...errnos].join('\n');
    const first = found.get(alike);
    if (first) first.more++;
    else found.set(alike, { key, errnos, more: 0 });
  }
  return [...found.values()].map(({ key, errnos, more }) => [
    more === 0 ? key : `${key} (and ${String(more)} more)`,
    ...errnos,
  ]);
}
