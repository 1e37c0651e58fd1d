// What `vhost-net trace` runs in a network namespace of its own: follows one frame and prints what was
// seen. Arguments: seconds to wait, and `--json`.
import { report, toText } from './report.js';
import { newWalk, takeWalk } from './walk.js';
import type { Walk } from './walk.js';
import { TraceInstance } from './instance.js';
import { VhostError } from '../index.js';

/** Signals that end the command; what is up is taken down first. */
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/** Why a walk was broken off. */
class Stop extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** Aborts when the time is over, or a signal comes. */
function stopper(seconds: number): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(new Stop(`the frame did not come back within ${String(seconds)} s`, 1));
  }, seconds * 1000);
  for (const [name, number] of Object.entries(SIGNALS)) {
    process.on(name, () => {
      controller.abort(new Stop(`ended by ${name}`, 128 + number));
    });
  }
  const release = () => {
    clearTimeout(timer);
  };
  return { signal: controller.signal, release };
}

/** Follows the frame; why that ended before the end. */
async function go(walk: Walk, seconds: number): Promise<Stop | undefined> {
  const { signal, release } = stopper(seconds);
  try {
    await takeWalk(walk, signal);
    return undefined;
  } catch (error) {
    if (signal.aborted) return signal.reason as Stop;
    if (error instanceof VhostError) return refusal(error);
    throw error;
  } finally {
    release();
  }
}

function refusal(error: VhostError): Stop {
  const hint = error.hint === undefined ? '' : `: ${error.hint}`;
  return new Stop(`${error.message}${hint}\nvhost-net doctor says what is missing`, 1);
}

async function main(seconds: number, json: boolean): Promise<number> {
  const walk = newWalk();
  try {
    const stop = await go(walk, seconds);
    if (stop) console.error(`vhost-net: ${stop.message}`);
    if (stop && stop.status > 1) return stop.status;
    const result = report(walk);
    console.log(json ? JSON.stringify(result, undefined, 2) : toText(result));
    return result.observed ? 0 : 1;
  } finally {
    if (walk.kernel instanceof TraceInstance) walk.kernel.close();
    walk.reader.close();
  }
}

const [seconds, format] = process.argv.slice(2);
void main(Number(seconds), format === '--json').then((status) => {
  process.exitCode = status;
});
