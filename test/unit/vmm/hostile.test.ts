import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';

import {
  HostileAccesses,
  formatAccess,
  parseCorpus,
  shrink,
} from '../../support/hostile-accesses.js';
import type { Access } from '../../support/hostile-accesses.js';
import { HOLE, HostileDevice } from '../../support/hostile-device.js';
import { root } from '../../support/packed.js';
import { Random } from '../../support/random.js';

/** `VHOST_DEVICE_ACCESSES=10000000` is what a release is held against. */
const ACCESSES = Number(process.env['VHOST_DEVICE_ACCESSES'] ?? 200_000);
const SEED = Number(process.env['VHOST_HOSTILE_SEED'] ?? 42);
/** Accesses from one driver to the next: each such piece can be repeated by itself. */
const PIECE = 500;

const CORPUS = parseCorpus(
  fs.readFileSync(path.join(root, 'test/unit/vmm/hostile.corpus'), 'utf8'),
);

/** One after the other, on devices that a driver has just begun to drive. */
function play(hostile: HostileDevice, sequence: readonly Access[]): void {
  hostile.drive();
  for (const access of sequence) {
    hostile.do(access);
    hostile.check();
  }
}

/** Why a sequence fails on devices of its own; undefined: it does not. */
function failureOf(sequence: readonly Access[]): Error | undefined {
  try {
    const hostile = new HostileDevice();
    play(hostile, sequence);
    hostile.drive();
    hostile.close();
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/** What a corpus is to keep of a piece that failed. */
function explain(piece: readonly Access[], error: Error): string {
  if (!failureOf(piece)) return `${error.message}, and not when it is repeated by itself`;
  const kept = shrink(piece, (one) => failureOf(one) !== undefined);
  return `${error.message}; for hostile.corpus:\n# \n${kept.map(formatAccess).join('\n')}`;
}

describe('devices and a guest that means them no good', () => {
  for (const [what, sequence] of CORPUS) {
    it(`survive what found once: ${what}`, () => {
      assert.ifError(failureOf(sequence));
    });
  }

  it(`survive ${String(ACCESSES)} accesses of all widths anywhere, and work whenever they are driven (VHOST_HOSTILE_SEED=${String(SEED)})`, () => {
    const hostile = new HostileDevice();
    const accesses = new HostileAccesses(new Random(SEED), HOLE);
    for (let done = 0; done < ACCESSES; done += PIECE) {
      const piece = Array.from({ length: PIECE }, () => accesses.next());
      try {
        play(hostile, piece);
      } catch (error) {
        assert.fail(explain(piece, error as Error));
      }
    }
    assert.ok(
      hostile.devices.every(({ served }) => served > 0),
      'queues were served',
    );
    hostile.close();
  }).timeout(3_600_000);
});
