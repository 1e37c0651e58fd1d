import net from 'node:net';

import type { TapOptions } from './tap-options.js';
import { misuse } from '../errors.js';
import { parseMac } from '../sys/link.js';

/** What a port may say that it is; see {@link OvsOptions.antiSpoof}. */
export interface AntiSpoofOptions {
  /** The only Ethernet address that frames may come from. */
  mac: string;
  /** The only IPv4 addresses, or ranges such as `10.9.0.0/29`. Default: any, as far as ARP agrees with `mac`. */
  ipv4?: readonly string[];
  /** The same for IPv6; link-local ones have to be named as well. */
  ipv6?: readonly string[];
}

/** How a tap becomes a port of an Open vSwitch bridge. */
export interface OvsOptions {
  /** The bridge. It must exist. */
  bridge: string;
  /** The VLAN whose access port it is, 1 to 4095. Default: none, the port is a trunk. */
  tag?: number;
  /** Bytes, Ethernet header not counted, 68 to 65521. Default: the interface keeps its own. */
  mtu?: number;
  /** What may come from the port at the most, in 1000 bits a second. Default: 0, all that it sends. */
  ingressRate?: number;
  /** What may come at once beyond that, in 1000 bits. Default: 0, Open vSwitch chooses. */
  ingressBurst?: number;
  /** Keys and values that other programs look for in the `Interface`, such as `iface-id`. */
  externalIds?: Readonly<Record<string, string>>;
  /**
   * OpenFlow rules that drop what says to be somebody else: other Ethernet addresses, other addresses in
   * ARP and in neighbour discovery, other IP addresses where they are named; also frames with a VLAN tag
   * and router advertisements. What they let pass is switched as `NORMAL`.
   */
  antiSpoof?: AntiSpoofOptions;
  /** The database, such as `unix:/run/openvswitch/db.sock`. Default: as of `ovs-vsctl`. */
  database?: string;
  /** Milliseconds in which each answer must have come. Default: 10000. */
  timeout?: number;
}

/** A tap that is a port of an Open vSwitch bridge while it is open. */
export interface OvsTapOptions extends TapOptions {
  /** The bridge, and what sort of port of it. */
  ovs: OvsOptions;
}

/** Options with every default filled in. */
export interface CheckedOvsOptions {
  readonly bridge: string;
  readonly tag: number | undefined;
  readonly mtu: number | undefined;
  readonly ingressRate: number;
  readonly ingressBurst: number;
  readonly externalIds: Readonly<Record<string, string>>;
  readonly antiSpoof: AntiSpoofOptions | undefined;
  readonly database: string | undefined;
  readonly timeout: number;
}

const KNOWN = [
  'bridge',
  'tag',
  'mtu',
  'ingressRate',
  'ingressBurst',
  'externalIds',
  'antiSpoof',
  'database',
  'timeout',
];

/** Each address of the lists is one rule, and in neighbour discovery two of them are. */
const MOST_ADDRESSES = 16;

/** `ovs-vsctl` counts whole seconds. */
const LONGEST_TIMEOUT = 600_000;

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function checkText(option: string, value: unknown, expected: string, fits: RegExp): string {
  if (typeof value !== 'string') throw misuse.type(option, 'a string', value);
  if (!fits.test(value)) throw misuse.range(option, expected, value);
  return value;
}

function checkInteger<T>(option: string, value: T, least: number, most: number): T {
  if (value === undefined) return value;
  if (typeof value !== 'number') throw misuse.type(option, 'an integer', value);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw misuse.range(option, `an integer in ${String(least)}..${String(most)}`, value);
  }
  return value;
}

/** The programs are given these as they are: nothing of it may look like an option or a column. */
function checkExternalIds(ids: unknown): Readonly<Record<string, string>> {
  // A Map has entries of its own, and none that would be seen here.
  if (!isObject(ids) || !isPlain(ids))
    throw misuse.type('externalIds', 'an object of strings', ids);
  for (const [key, value] of Object.entries(ids)) {
    checkText('externalIds', key, 'keys of letters, digits, "_", "." and "-"', /^\w[\w.-]*$/);
    checkText(`externalIds.${key}`, value, 'a text without control characters', /^\P{Cc}*$/u);
  }
  return ids as Readonly<Record<string, string>>;
}

function checkAddresses(option: string, list: unknown, family: 4 | 6): void {
  if (list === undefined) return;
  if (!Array.isArray(list)) throw misuse.type(option, 'an array of addresses', list);
  if (list.length > MOST_ADDRESSES) {
    throw misuse.range(option, `at most ${String(MOST_ADDRESSES)} addresses`, list);
  }
  for (const text of list as unknown[]) {
    const [address = '', prefix = '0', ...rest] = typeof text === 'string' ? text.split('/') : [];
    const longest = family === 4 ? 32 : 128;
    // isIP takes a zone behind "%", and any text there.
    const fits =
      net.isIP(address) === family &&
      !address.includes('%') &&
      /^\d+$/.test(prefix) &&
      Number(prefix) <= longest;
    if (!fits || rest.length > 0)
      throw misuse.range(option, `IPv${String(family)} addresses`, text);
  }
}

function checkAntiSpoof(options: AntiSpoofOptions | undefined): AntiSpoofOptions | undefined {
  if (options === undefined) return undefined;
  if (!isObject(options)) throw misuse.type('antiSpoof', 'an object with a mac', options);
  const known = ['mac', 'ipv4', 'ipv6'];
  const other = Object.keys(options).find((name) => !known.includes(name));
  if (other !== undefined) throw misuse.unknown(`antiSpoof.${other}`, known);
  const mac = typeof options.mac === 'string' ? parseMac(options.mac) : undefined;
  if (!mac || ((mac[0] ?? 0) & 1) !== 0) {
    throw misuse.range('antiSpoof.mac', 'an address such as 02:00:00:00:00:01', options.mac);
  }
  checkAddresses('antiSpoof.ipv4', options.ipv4, 4);
  checkAddresses('antiSpoof.ipv6', options.ipv6, 6);
  return options;
}

/** @throws {TypeError} or `RangeError`, naming the option that does not fit. */
export function checkOvsOptions(options: OvsOptions): CheckedOvsOptions {
  if (!isObject(options)) throw misuse.type('ovs', 'an object with a bridge', options);
  const other = Object.keys(options).find((name) => !KNOWN.includes(name));
  if (other !== undefined) throw misuse.unknown(`ovs.${other}`, KNOWN);
  const { bridge, tag, mtu, antiSpoof, database } = options;
  const { ingressRate = 0, ingressBurst = 0, externalIds = {}, timeout = 10_000 } = options;
  const name = 'a name without "/", "*" and white space, not beginning with "-"';
  checkText('ovs.bridge', bridge, name, /^[^\s/*-][^\s/*]*$/);
  if (database !== undefined) {
    checkText('database', database, 'such as unix:/run/openvswitch/db.sock', /^(unix|tcp|ssl):./);
  }
  if (antiSpoof !== undefined && database !== undefined && !database.startsWith('unix:')) {
    throw misuse.range('database', "this machine's (unix:…), for antiSpoof", database);
  }
  return {
    bridge,
    tag: checkInteger('tag', tag, 1, 4095),
    mtu: checkInteger('mtu', mtu, 68, 65521),
    ingressRate: checkInteger('ingressRate', ingressRate, 0, 0xffffffff),
    ingressBurst: checkInteger('ingressBurst', ingressBurst, 0, 0xffffffff),
    externalIds: checkExternalIds(externalIds),
    antiSpoof: checkAntiSpoof(antiSpoof),
    database,
    timeout: checkInteger('timeout', timeout, 1000, LONGEST_TIMEOUT),
  };
}

/**
 * The tap of an Open vSwitch port, with the MTU of the port.
 *
 * @throws {TypeError} or `RangeError`, naming the option that does not fit.
 */
export function tapOfOvs({ ovs, ...tap }: OvsTapOptions, mtu: number | undefined): TapOptions {
  if (typeof tap.tap === 'string' && tap.tap.startsWith('-')) {
    throw misuse.range('tap', 'a name not beginning with "-", for a port of a bridge', tap.tap);
  }
  if (mtu === undefined) return tap;
  if (tap.mtu !== undefined && tap.mtu !== mtu) {
    throw misuse.range('mtu', `what ovs.mtu is, ${String(ovs.mtu)}`, tap.mtu);
  }
  return { ...tap, mtu };
}
