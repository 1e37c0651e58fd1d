import fs from 'node:fs';

/** Parameters of the modules `vhost` and `vhost_net`; each undefined where this kernel has it not. */
export interface VhostParameters {
  /** Rows that {@link VhostNet.setMemTable} takes. Module `vhost`, `max_mem_regions`. */
  readonly maxMemRegions: number | undefined;
  /** Translations that an IOTLB holds; more rows than this in a table, and the first are dropped. */
  readonly maxIotlbEntries: number | undefined;
  /** What workers are unless {@link VhostNet.setForkFromOwner} says otherwise. */
  readonly forkFromOwnerDefault: boolean | undefined;
  /** Whether vhost-net sends without copying. Module `vhost_net`, `experimental_zcopytx`. */
  readonly zeroCopyTransmit: boolean | undefined;
}

/** The text of a parameter; undefined when there is none, or it is nobody's to read. */
function parameter(module: string, name: string): string | undefined {
  try {
    return fs.readFileSync(`/sys/module/${module}/parameters/${name}`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function number(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text);
}

/** The kernel writes `Y`, or for a number that is used as one, `1`. */
function boolean(text: string | undefined): boolean | undefined {
  return text === undefined ? undefined : ['Y', '1'].includes(text);
}

/** Reads `/sys/module/vhost/parameters` and `/sys/module/vhost_net/parameters`. */
export function vhostParameters(): VhostParameters {
  return {
    maxMemRegions: number(parameter('vhost', 'max_mem_regions')),
    maxIotlbEntries: number(parameter('vhost', 'max_iotlb_entries')),
    forkFromOwnerDefault: boolean(parameter('vhost', 'fork_from_owner_default')),
    zeroCopyTransmit: boolean(parameter('vhost_net', 'experimental_zcopytx')),
  };
}
