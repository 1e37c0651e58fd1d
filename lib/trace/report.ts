import os from 'node:os';

import { Notes } from './notes.js';
import type { Observation, Step } from './notes.js';
import { KernelRecord } from './record.js';
import { buffers, into, loop, up, work } from './steps-in.js';
import { handler, out, publishing, sending, taking } from './steps-out.js';
import type { Walk } from './walk.js';

/** The ten steps of README's picture. */
const STEPS: readonly [string, (walk: Walk, notes: Notes, kernel: KernelRecord) => void][] = [
  ['Up', up],
  ['Buffers', buffers],
  ['In', into],
  ['The worker', work],
  ['The event loop', loop],
  ['Taking', taking],
  ['Your handler', handler],
  ['Sending', sending],
  ['Publishing', publishing],
  ['Out', out],
];

/** What was seen of one frame's way. */
export interface TraceReport {
  /** All ten steps were. */
  readonly observed: boolean;
  readonly kernel: string;
  readonly node: string;
  readonly tap: string;
  readonly worker?: { readonly name: string; readonly tid: number; readonly kind: string };
  /** The frames as they lay in their slots, in hexadecimal. */
  readonly request?: string;
  readonly reply?: string;
  readonly steps: readonly Step[];
}

/** Looks at what was noted and recorded. */
export function report(walk: Walk): TraceReport {
  const kernel = new KernelRecord(walk);
  const steps = STEPS.map(([title, fill], index) => {
    const notes = new Notes(kernel);
    fill(walk, notes, kernel);
    return notes.toStep(index + 1, title);
  });
  const { tap, worker, handled, put } = walk;
  return {
    observed: steps.every(({ observed }) => observed),
    kernel: `Linux ${os.release()}`,
    node: process.version,
    tap,
    ...(worker && { worker: { name: worker.name, tid: worker.tid, kind: worker.kind } }),
    ...(handled && { request: handled.frame.toString('hex') }),
    ...(put && { reply: put.reply.toString('hex') }),
    steps,
  };
}

/** The same for people. */
export function toText({ kernel, node, tap, observed, steps }: TraceReport): string {
  const count = steps.filter((step) => step.observed).length;
  return [
    `${kernel}, Node ${node}. One frame through ${tap}; microseconds since step 3 began.`,
    ...steps.flatMap(stepLines),
    '',
    observed ? 'All ten steps were observed.' : `${String(count)} of ten steps were observed.`,
  ].join('\n');
}

function stepLines({ step, title, seen, missing }: Step): string[] {
  const head = `${String(step).padStart(2)}. ${title}`;
  return ['', head, ...seen.map(seenLine), ...missing.map((what) => `  not observed: ${what}`)];
}

function seenLine({ microseconds, source, text }: Observation): string {
  const time = microseconds === undefined ? '' : microseconds.toFixed(1);
  return `${time.padStart(12)}  ${source.padEnd(6)}  ${text}`;
}
