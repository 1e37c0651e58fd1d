import fs from 'node:fs';
import path from 'node:path';

import Mocha from 'mocha';

import { IoctlTracer } from './ioctl-trace.js';

/**
 * The usual report, and the counts and failures in a file for whoever runs several tiers:
 * `VHOST_TEST_COUNTS` names it. `VHOST_TEST_TRACE` names one for the ioctls that the tests made.
 */
class CountingReporter extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    const trace = process.env['VHOST_TEST_TRACE'];
    if (trace !== undefined) traceTo(trace, runner);
    runner.once(Mocha.Runner.constants.EVENT_RUN_END, () => {
      const { passes, failures, pending } = this.stats;
      const file = process.env['VHOST_TEST_COUNTS'];
      const messages = this.failures.map(describeFailure);
      const counts = { passed: passes, failed: failures, skipped: pending, failures: messages };
      if (file !== undefined) fs.writeFileSync(file, JSON.stringify(counts));
      // A port that a test left open would keep the process alive for ever.
      setTimeout(() => {
        console.error('something that a test left open keeps the process alive');
        process.exit(failures || 1);
      }, 10_000).unref();
    });
  }
}

/** In one line: a long run is read from its end, if the rest of it was kept at all. */
function describeFailure(test: Mocha.Test): string {
  const [reason = ''] = (test.err?.message ?? '').split('\n');
  return `${test.titlePath().join(': ')}: ${reason}`;
}

function traceTo(file: string, runner: Mocha.Runner): void {
  const tracer = new IoctlTracer();
  const { EVENT_TEST_BEGIN, EVENT_RUN_END } = Mocha.Runner.constants;
  runner.on(EVENT_TEST_BEGIN, (test: Mocha.Test) => {
    tracer.test = `${path.basename(test.file ?? '', '.test.js')}: ${test.title}`;
  });
  runner.once(EVENT_RUN_END, () => {
    fs.writeFileSync(file, JSON.stringify(tracer.result()));
  });
}

export = CountingReporter;
