/** A row of the database, by column. Sets are arrays, maps are objects, references their identifiers. */
export type OvsRow = Readonly<Record<string, unknown>>;

/** What `ovs-vsctl --format=json` prints of a table. RFC 7047, section 5.1, has the notation of values. */
interface JsonTable {
  readonly headings: readonly string[];
  readonly data: readonly (readonly unknown[])[];
}

/** The rows of each table that was asked for: one line each. */
export function parseTables(output: string): OvsRow[][] {
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line) => rows(JSON.parse(line) as JsonTable));
}

function rows({ headings, data }: JsonTable): OvsRow[] {
  return data.map((values) =>
    Object.fromEntries(headings.map((heading, i) => [heading, plain(values[i])])),
  );
}

function plain(value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  const [kind, content] = value as unknown as [string, unknown];
  if (kind === 'set') return (content as unknown[]).map(plain);
  if (kind === 'map') return Object.fromEntries(content as [string, unknown][]);
  return content; // ["uuid", "…"]
}

/** The only value of a column that may have none. */
export function optional(value: unknown): unknown {
  return Array.isArray(value) ? value[0] : value;
}

/** A column's values, be they none, one or many. */
export function several(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value];
}
