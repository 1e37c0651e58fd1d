import type { FabricCounters, RepairReport } from '../index.js';

/** A port of the command at one moment. */
export interface PortCounts extends Readonly<FabricCounters> {
  /** As it was written on the command line. */
  readonly backend: string;
  /** The interface's name. */
  readonly name: string;
  readonly received: Amount;
  readonly sent: Amount;
  /** Frames that the kernel had for the port, and that came faster than they were taken. */
  readonly missed: number;
  /** How often its rings were started again. */
  readonly repairs: number;
}

/** What is told of an error; only the system's have a hint. */
interface Reason {
  readonly code?: string;
  readonly message: string;
  readonly hint?: string;
}

interface Amount {
  readonly frames: number;
  readonly bytes: number;
}

const USUAL_WIDTH = 79;

/** What is printed: for people on a terminal with rates that are drawn again and again, or a line of JSON each. */
export class ForwardReport {
  readonly #json: boolean;
  readonly #began = performance.now();
  #before = new Map<string, PortCounts>();
  #at = 0;
  /** Lines on the terminal that the next rates replace. */
  #drawn = 0;

  constructor(json: boolean) {
    this.#json = json;
  }

  /** Whether rates are wanted: nobody reads them in a file. */
  get live(): boolean {
    return this.#json || process.stdout.isTTY;
  }

  /** Every backend is open. */
  ready(ports: readonly PortCounts[]): void {
    const names = ports.map(({ backend, name }) => ({ backend, name }));
    const list = names.map(({ backend }) => backend).join(', ');
    this.#say({ type: 'ready', ports: names }, `forwarding between ${list}; Ctrl-C ends it`);
    this.#remember(ports);
  }

  /** What passed since the last time. */
  rates(ports: readonly PortCounts[]): void {
    const seconds = this.#seconds() - this.#at;
    const rates = ports.map((port) => rate(port, this.#before.get(port.backend), seconds));
    this.#remember(ports);
    if (this.#json) console.log(JSON.stringify({ type: 'rates', seconds, ports: rates }));
    else this.#draw(rates.map(rateLine));
  }

  /** A port's rings had been stopped by something, and run again. */
  repaired(backend: string, { cause, message, unsent, unknown }: RepairReport): void {
    this.#say(
      { type: 'repair', backend, cause, message, unsent, unknown },
      `${backend}: ${message}; it goes on, ${String(unsent + unknown)} frames were lost`,
    );
  }

  /** A port is of no more use. */
  lost(backend: string, error: Error): void {
    const { code, message, hint } = error as Reason;
    this.#say({ type: 'lost', backend, code, message, hint }, undefined);
    console.error(`vhost-net: ${backend} is lost: ${message}`);
  }

  /** A backend can't be opened. Exit status 2 when no backend could be asked for in that way. */
  failed(backend: string, error: unknown): number {
    const { code, message, hint } = error as Reason;
    this.#say({ type: 'failed', backend, code, message, hint }, undefined);
    console.error(`vhost-net: ${backend}: ${message}${hint === undefined ? '' : ` (${hint})`}`);
    return error instanceof TypeError || error instanceof RangeError ? 2 : 1;
  }

  /** The end. */
  summary(ports: readonly PortCounts[], addresses: number | undefined): void {
    const seconds = this.#seconds();
    this.#drawn = 0;
    const learned = addresses === undefined ? '' : `, ${String(addresses)} addresses learned`;
    const title = `forwarded for ${seconds.toFixed(1)} s${learned}`;
    this.#say(
      { type: 'summary', seconds, addresses, ports },
      [title, ...ports.map(summaryLine)].join('\n'),
    );
  }

  #say(json: object, text: string | undefined): void {
    if (this.#json) console.log(JSON.stringify(json));
    else if (text !== undefined) {
      this.#drawn = 0; // what stands there stays above the message
      console.log(text);
    }
  }

  #draw(lines: readonly string[]): void {
    const up = this.#drawn > 0 ? `\x1b[${String(this.#drawn)}A` : '';
    const { columns } = process.stdout;
    const width = columns > 0 ? columns - 1 : USUAL_WIDTH; // a terminal that was told none has 0
    const drawn = lines.map((line) => `\x1b[2K${line.slice(0, width)}\n`);
    process.stdout.write(up + drawn.join(''));
    this.#drawn = lines.length;
  }

  #remember(ports: readonly PortCounts[]): void {
    this.#at = this.#seconds();
    this.#before = new Map(ports.map((port) => [port.backend, port]));
  }

  #seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }
}

interface Rate {
  readonly backend: string;
  readonly received: AmountRate;
  readonly sent: AmountRate;
  readonly dropped: number;
}

interface AmountRate {
  readonly framesPerSecond: number;
  readonly bitsPerSecond: number;
}

function rate(now: PortCounts, before: PortCounts | undefined, seconds: number): Rate {
  const amount = (way: 'received' | 'sent') => ({
    framesPerSecond: (now[way].frames - (before?.[way].frames ?? 0)) / seconds,
    bitsPerSecond: ((now[way].bytes - (before?.[way].bytes ?? 0)) * 8) / seconds,
  });
  const lost = lostFrames(now) - (before ? lostFrames(before) : 0);
  const { backend } = now;
  return { backend, received: amount('received'), sent: amount('sent'), dropped: lost };
}

/** Frames for or from this port that nobody got. */
function lostFrames({ dropped, refused, missed }: PortCounts): number {
  return dropped + refused + missed;
}

function rateLine({ backend, received, sent, dropped }: Rate): string {
  const way = (amount: AmountRate) =>
    `${short(amount.framesPerSecond).padStart(7)}frame/s ${short(amount.bitsPerSecond).padStart(7)}bit/s`;
  return `${backend.padEnd(16)} in ${way(received)}  out ${way(sent)}  dropped ${String(dropped)}`;
}

function summaryLine(port: PortCounts): string {
  const way = ({ frames, bytes }: Amount) => `${String(frames)} frames (${short(bytes)}B)`;
  const { backend, received, sent, flooded } = port;
  const more = [
    `${String(lostFrames(port))} dropped`,
    ...(flooded > 0 ? [`${String(flooded)} flooded`] : []),
  ];
  return `${backend.padEnd(16)} in ${way(received)}, out ${way(sent)}, ${more.join(', ')}`;
}

/** Three digits and more of a number, with the prefix of its unit. */
function short(value: number): string {
  const step = [1e9, 1e6, 1e3].findIndex((unit) => value >= unit);
  if (step < 0) return `${value.toFixed(0)} `;
  const scaled = value / ([1e9, 1e6, 1e3][step] ?? 1);
  return `${scaled.toFixed(scaled < 10 ? 2 : scaled < 100 ? 1 : 0)} ${['G', 'M', 'k'][step] ?? ''}`;
}
