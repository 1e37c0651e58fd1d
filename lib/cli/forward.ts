import { once } from 'node:events';

import { openAll } from './forward-opening.js';
import type { ForwardOptions } from './forward-options.js';
import { ForwardReport } from './forward-report.js';
import type { PortCounts } from './forward-report.js';
import { claimLink } from './link-claim.js';
import { MissedFrames } from './missed-frames.js';
import { Cable, LearningSwitch, openPort } from '../index.js';
import type { FabricCounters, Port, PortOptions, PortStatistics } from '../index.js';

export { forwardOptions } from './forward-options.js';

/** What joins the ports. */
interface Fabric {
  /** Addresses that it knows; undefined: it does not look. */
  readonly addresses?: number;
  counters(port: Port): Readonly<FabricCounters>;
  remove(port: Port): void;
  close(): void;
}

const RATE_MILLISECONDS = 1000;

/**
 * Forwards between backends until a signal ends it, or fewer than two are left.
 *
 * @returns Exit status 0: ended by SIGINT, SIGTERM or SIGHUP. 1: a backend could not be opened, or
 * too few were left. 2: an argument that no backend can have.
 */
export async function forward(options: ForwardOptions): Promise<number> {
  const report = new ForwardReport(options.json);
  const stop = new AbortController();
  const end = () => {
    stop.abort(0);
  };
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  process.stdout.on('error', end); // nobody reads any more
  const ports = new Map<string, Port>();
  try {
    const failure = await openAll(options, ports, report, stop.signal, openClaimed);
    if (failure !== undefined) return failure;
    return await new Forwarding(ports, options.backends, report).run(stop);
  } finally {
    for (const port of ports.values()) await port.close();
  }
}

async function openClaimed(options: PortOptions): Promise<Port> {
  await claimLink(options.backend);
  return openPort(options);
}

/** Between two a cable, which loses nothing; between more a switch. */
function join(ports: readonly Port[]): Fabric {
  const [left, right] = ports;
  if (left && right && ports.length === 2) return new Cable(left, right);
  const fabric = new LearningSwitch();
  for (const port of ports) fabric.add(port);
  return fabric;
}

/** Open ports, joined, and what is told of them. */
class Forwarding {
  readonly #ports: Map<string, Port>;
  readonly #report: ForwardReport;
  readonly #fabric: Fabric;
  /** The last that was seen of each backend; of a lost one nothing newer comes. */
  readonly #counts = new Map<string, PortCounts>();
  readonly #missed = new Map<string, MissedFrames>();

  constructor(
    ports: Map<string, Port>,
    backends: ForwardOptions['backends'],
    report: ForwardReport,
  ) {
    this.#ports = ports;
    for (const { text, kind } of backends) this.#missed.set(text, new MissedFrames(kind));
    this.#report = report;
    this.#fabric = join([...ports.values()]);
  }

  /** Until the signal comes, whose reason is the exit status. */
  async run(stop: AbortController): Promise<number> {
    this.#watch(stop);
    this.#report.ready(this.#look());
    const live = setInterval(() => {
      if (this.#report.live) this.#report.rates(this.#look());
    }, RATE_MILLISECONDS);
    await aborted(stop.signal);
    clearInterval(live);
    this.#report.summary(this.#look(), this.#fabric.addresses);
    this.#fabric.close();
    return stop.signal.reason as number;
  }

  #watch(stop: AbortController): void {
    for (const [backend, port] of this.#ports) {
      port.on('repair', (report) => {
        this.#report.repaired(backend, report);
      });
      port.on('error', (error) => {
        this.#lose(backend, port, error);
        if (this.#ports.size < 2) stop.abort(1);
      });
    }
  }

  /** The others go on without it. Each of its queue pairs says it. */
  #lose(backend: string, port: Port, error: Error): void {
    if (!this.#ports.has(backend)) return;
    this.#look();
    this.#report.lost(backend, error);
    this.#fabric.remove(port);
    this.#ports.delete(backend);
    port.close().catch((reason: unknown) => {
      this.#report.lost(backend, reason as Error);
    });
  }

  /** Counters of all, as far as they can be read. */
  #look(): PortCounts[] {
    for (const [backend, port] of this.#ports) {
      const statistics = read(port);
      if (!statistics) continue;
      const missed = this.#missed.get(backend)?.count(statistics.link) ?? 0;
      const fabric = this.#fabric.counters(port);
      this.#counts.set(backend, { ...counts(backend, port.name, statistics), missed, ...fabric });
    }
    return [...this.#counts.values()];
  }
}

/** Undefined while its interface is gone. */
function read(port: Port): PortStatistics | undefined {
  try {
    return port.statistics();
  } catch {
    return undefined;
  }
}

function counts(
  backend: string,
  name: string,
  { receive, transmit, repairs }: PortStatistics,
): Omit<PortCounts, 'missed' | keyof FabricCounters> {
  return {
    backend,
    name,
    received: { frames: receive.frames, bytes: receive.bytes },
    sent: { frames: transmit.frames, bytes: transmit.bytes },
    repairs,
  };
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}
