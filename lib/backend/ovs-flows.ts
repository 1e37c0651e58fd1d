import { createHash } from 'node:crypto';

import type { AntiSpoofOptions } from './ovs-options.js';

/** ICMPv6 types. RFC 4861, RFC 3810. */
const NEIGHBOUR_SOLICITATION = 135;
const NEIGHBOUR_ADVERTISEMENT = 136;
const ROUTER_ADVERTISEMENT = 134;
const REDIRECT = 137;
const LISTENER_REPORT = 143;

/** Above what a bridge usually has: which frames count is said before where they go. */
const BASE = 65000;

/** Where the rules stand among each other: a higher one is looked at first. */
const RANK = {
  never: BASE + 50,
  neighbours: BASE + 40,
  neighboursElse: BASE + 30,
  addresses: BASE + 20,
  addressesElse: BASE + 10,
  any: BASE + 5,
  rest: BASE,
};

/** Marks the rules of one port, so that a later process finds those of a crashed one. */
export function flowCookie(name: string): string {
  return `0x${createHash('sha256').update(`vhost-net ${name}`).digest('hex').slice(0, 16)}`;
}

/** One rule as `ovs-ofctl` reads it; parts of a match that are undefined are left out. */
function rule(priority: number, match: readonly (string | undefined)[], action: string): string {
  const parts = [`priority=${String(priority)}`, ...match.filter((part) => part !== undefined)];
  return `${parts.join(',')},actions=${action}`;
}

const pass = (priority: number, ...match: (string | undefined)[]) =>
  rule(priority, match, 'NORMAL');
const drop = (priority: number, ...match: (string | undefined)[]) => rule(priority, match, 'drop');

/** A match for each address of a list; without a list one that takes any. */
function each(field: string, list: readonly string[] | undefined): (string | undefined)[] {
  return list === undefined ? [undefined] : list.map((address) => `${field}=${address}`);
}

/**
 * The rules of a port that may speak for these addresses alone. RFC 826 has the fields of ARP, RFC 4861
 * those of neighbour discovery.
 *
 * @param ofport  The port's number on its bridge.
 * @returns Lines for `ovs-ofctl add-flows`, without cookie.
 */
export function antiSpoofRules(ofport: number, options: AntiSpoofOptions): string[] {
  const { mac, ipv4, ipv6 } = options;
  const source = `dl_src=${mac}`;
  const rules = [
    drop(RANK.never, 'vlan_tci=0x1000/0x1000'),
    ...arpRules(mac, ipv4),
    ...neighbourRules(mac, ipv6),
    ...(ipv4 ? ipv4Rules(source, ipv4) : []),
    ...(ipv6 ? ipv6Rules(source, ipv6) : []),
    pass(RANK.any, source),
    drop(RANK.rest),
  ];
  return rules.map((text) => `in_port=${String(ofport)},${text}`);
}

function arpRules(mac: string, ipv4: readonly string[] | undefined): string[] {
  const own = ['arp', `dl_src=${mac}`, `arp_sha=${mac}`];
  return [
    ...each('arp_spa', ipv4).map((address) => pass(RANK.addresses, ...own, address)),
    // Who looks whether an address is free has none yet. RFC 5227.
    ...(ipv4 ? [pass(RANK.addresses, ...own, 'arp_spa=0.0.0.0', 'arp_op=1')] : []),
    drop(RANK.addressesElse, 'arp'),
  ];
}

function ipv4Rules(source: string, ipv4: readonly string[]): string[] {
  return [
    ...each('nw_src', ipv4).map((address) => pass(RANK.addresses, 'ip', source, address)),
    pass(RANK.addresses, 'udp', source, 'nw_src=0.0.0.0', 'tp_src=68', 'tp_dst=67'), // DHCP
    drop(RANK.addressesElse, 'ip'),
  ];
}

function ipv6Rules(source: string, ipv6: readonly string[]): string[] {
  return [
    ...each('ipv6_src', ipv6).map((address) => pass(RANK.addresses, 'ipv6', source, address)),
    // Sent before the interface has an address. RFC 3810, section 5.2.13.
    pass(RANK.addresses, 'icmp6', source, 'ipv6_src=::', type(LISTENER_REPORT)),
    drop(RANK.addressesElse, 'ipv6'),
  ];
}

function type(number: number): string {
  return `icmp_type=${String(number)}`;
}

function neighbourRules(mac: string, ipv6: readonly string[] | undefined): string[] {
  const source = `dl_src=${mac}`;
  const sources = each('ipv6_src', ipv6);
  const solicited = ['icmp6', type(NEIGHBOUR_SOLICITATION), 'icmp_code=0', source];
  const advertised = ['icmp6', type(NEIGHBOUR_ADVERTISEMENT), 'icmp_code=0', source];
  const none = '00:00:00:00:00:00'; // the option with the address may be missing
  return [
    drop(RANK.never, 'icmp6', type(ROUTER_ADVERTISEMENT)),
    drop(RANK.never, 'icmp6', type(REDIRECT)),
    // Of a fragment no rule sees the type: it reads 0 (ovs-ofctl(8), set-frags).
    drop(RANK.never, 'icmp6', 'ip_frag=yes'),
    ...sources.flatMap((from) =>
      [mac, none].map((link) => pass(RANK.neighbours, ...solicited, `nd_sll=${link}`, from)),
    ),
    // Who looks whether an address is free. RFC 4862, section 5.4.
    ...(ipv6
      ? each('nd_target', ipv6).map((target) =>
          pass(RANK.neighbours, ...solicited, `nd_sll=${none}`, 'ipv6_src=::', target),
        )
      : []),
    ...sources.flatMap((from) =>
      each('nd_target', ipv6).flatMap((target) =>
        [mac, none].map((link) =>
          pass(RANK.neighbours, ...advertised, `nd_tll=${link}`, target, from),
        ),
      ),
    ),
    drop(RANK.neighboursElse, 'icmp6', type(NEIGHBOUR_SOLICITATION)),
    drop(RANK.neighboursElse, 'icmp6', type(NEIGHBOUR_ADVERTISEMENT)),
  ];
}
