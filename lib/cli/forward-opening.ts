import { portOptions } from './forward-options.js';
import type { ForwardOptions } from './forward-options.js';
import type { ForwardReport } from './forward-report.js';
import type { PortOptions } from '../index.js';

/** How a port is opened. */
export type Open<P> = (options: PortOptions) => Promise<P>;

/**
 * Opens the ports of the command, one after the other. Aborting ends also the one that is under way.
 *
 * @param ports  Gets each as soon as it is open; whoever called closes them.
 * @returns The exit status where it is not to go on; undefined: all are open.
 */
export async function openAll<P>(
  options: ForwardOptions,
  ports: Map<string, P>,
  report: ForwardReport,
  signal: AbortSignal,
  open: Open<P>,
): Promise<number | undefined> {
  // A signal of its own: a port closes when its signal comes, and an open one has counters to tell first.
  const opening = new AbortController();
  const abort = () => {
    opening.abort(signal.reason);
  };
  signal.addEventListener('abort', abort);
  try {
    for (const [i, one] of portOptions(options).entries()) {
      const text = options.backends[i]?.text ?? '';
      if (signal.aborted) return 0;
      const failure = await openOne(text, { ...one, signal: opening.signal }, ports, report, open);
      if (failure !== undefined) return failure;
    }
    return undefined;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

async function openOne<P>(
  text: string,
  options: PortOptions & { readonly signal: AbortSignal },
  ports: Map<string, P>,
  report: ForwardReport,
  open: Open<P>,
): Promise<number | undefined> {
  try {
    ports.set(text, await open(options));
    return undefined;
  } catch (error) {
    return options.signal.aborted ? 0 : report.failed(text, error);
  }
}
