import fs from 'node:fs';

import Mocha from 'mocha';

/**
 * The usual report, and the counts in a file for whoever runs several tiers: `VHOST_TEST_COUNTS`
 * names it.
 */
class CountingReporter extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    runner.once(Mocha.Runner.constants.EVENT_RUN_END, () => {
      const { passes, failures, pending } = this.stats;
      const file = process.env['VHOST_TEST_COUNTS'];
      const counts = JSON.stringify({ passed: passes, failed: failures, skipped: pending });
      if (file !== undefined) fs.writeFileSync(file, counts);
      // A port that a test left open would keep the process alive for ever.
      setTimeout(() => {
        console.error('something that a test left open keeps the process alive');
        process.exit(failures || 1);
      }, 10_000).unref();
    });
  }
}

export = CountingReporter;
