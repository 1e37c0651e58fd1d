import type { Capabilities, Check } from '../index.js';

/** What is left to say when not even the package can be loaded. */
type Report = Pick<Capabilities, 'driverMode' | 'checks'> & Partial<Capabilities>;

/** Prints what this machine can do. Exit status 0: ports can be opened. */
export async function doctor(json: boolean): Promise<number> {
  const report = await examine();
  console.log(json ? toJson(report) : toText(report));
  return report.driverMode ? 0 : 1;
}

async function examine(): Promise<Report> {
  try {
    // Not the whole package: it has five times as many files.
    const { capabilities } = await import('../capabilities/capabilities.js');
    return capabilities();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ERR_VHOST_ADDON_LOAD') throw error;
    const lack = { name: 'addon', required: true, ok: false, detail: message };
    return { driverMode: false, checks: [{ ...lack, remedy: 'npm rebuild vhost-net' }] };
  }
}

/** Sets of bits as JSON has them: in hexadecimal. */
function toJson(report: Report): string {
  const plain = (_: string, value: unknown) =>
    typeof value === 'bigint' ? `0x${value.toString(16)}` : value;
  return JSON.stringify(report, plain, 2);
}

/** @internal For people. */
export function toText(report: Report): string {
  const { kernel, node, vhost, tap, checks, driverMode } = report;
  return [
    ...(kernel === undefined ? [] : [`${kernel}, Node ${node ?? ''}`, '']),
    ...section('Driver mode needs', checks.filter((one) => one.required).flatMap(lines)),
    ...section('Besides', checks.filter((one) => !one.required).flatMap(lines)),
    ...(vhost ? section('vhost-net offers', vhostLines(vhost)) : []),
    ...(tap ? section('A tap takes', tapLines(tap)) : []),
    driverMode ? 'Driver mode can work here.' : 'Driver mode can not work here yet.',
  ].join('\n');
}

function section(title: string, content: readonly string[]): string[] {
  return content.length === 0 ? [] : [title, ...content.map((line) => `  ${line}`), ''];
}

function lines({ name, ok, detail, remedy }: Check): string[] {
  const found = `${ok ? 'yes' : 'NO '}  ${name.padEnd(15)} ${detail.replaceAll('\n', '\n       ')}`;
  return remedy === undefined || ok ? [found] : [found, `${' '.repeat(21)}as root: ${remedy}`];
}

function vhostLines(vhost: NonNullable<Capabilities['vhost']>): string[] {
  const { features, featuresArray, forkFromOwner, backendFeatures, worker, parameters } = vhost;
  const bits = features.map(
    ({ bit, name, meaning }) => `${String(bit).padStart(3)}  ${name}: ${meaning}`,
  );
  const yes = (value: boolean) => (value ? 'yes' : 'no');
  const known = (value?: number | boolean) => (value === undefined ? 'not said' : String(value));
  return [
    ...bits,
    `features of more than 64 bits: ${yes(featuresArray)}`,
    `backend features: 0x${backendFeatures.toString(16)}`,
    `its worker: ${worker ?? 'unknown'}; may be chosen: ${yes(forkFromOwner)}`,
    `max_mem_regions: ${known(parameters.maxMemRegions)}`,
    `max_iotlb_entries: ${known(parameters.maxIotlbEntries)}`,
    `fork_from_owner_default: ${known(parameters.forkFromOwnerDefault)}`,
    `experimental_zcopytx: ${known(parameters.zeroCopyTransmit)}`,
  ];
}

function tapLines({ flags, offloads }: NonNullable<Capabilities['tap']>): string[] {
  return [
    `flags: ${flags.join(' ')}`,
    `offloads: ${offloads?.join(' ') ?? 'unknown without the right to make a tap'}`,
  ];
}
