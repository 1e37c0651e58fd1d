import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';

const program = path.join(__dirname, 'fuzz.program.js');
const CALLS = Number(process.env['VHOST_FUZZ_CALLS'] ?? 4000);
const SEED = Number(process.env['VHOST_FUZZ_SEED'] ?? Date.now() % 2 ** 31);

/** As root it would change this machine's interfaces; without any right it can change none. */
const separate = process.getuid?.() === 0 ? ['unshare', '--net'] : [];

const [unshare, ...option] = separate;
const blocked = unshare !== undefined && spawnSync(unshare, [...option, 'true']).status !== 0;
const why = blocked ? ' [root, but no network namespace of its own to be had]' : '';

(blocked ? describe.skip : describe)(
  `the addon under ${String(CALLS)} random calls (VHOST_FUZZ_SEED=${String(SEED)})${why}`,
  function () {
    this.timeout(600_000);

    /** Ends well, and with as many calls that did something as chance allows. */
    function survive(calls: number, workers: number): void {
      const args = ['--expose-gc', program, SEED, calls, workers].map(String);
      const [command = '', ...rest] = [...separate, process.execPath, ...args];
      const options = { encoding: 'utf8', timeout: 500_000 } as const;
      const { status, signal, stdout, stderr } = spawnSync(command, rest, options);
      assert.equal(status, 0, `${signal ?? ''} ${stderr.slice(0, 10_000)}`);
      assert.doesNotMatch(stderr, /Sanitizer|runtime error/);
      const returned = Number(/^survived: (\d+) calls returned/m.exec(stdout)?.[1]);
      assert.ok(returned > calls / (workers + 1) / 10, stdout);
      if (calls / (workers + 1) >= 4000) assert.match(stdout, /^never called: none$/m);
    }

    it('goes on in the main thread', () => {
      survive(CALLS, 0);
    });

    it('goes on in Workers, some of which are terminated in the middle', () => {
      survive(CALLS, 3);
    });
  },
);
