import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import zlib from 'node:zlib';

import { KeptCode, placeOfCode } from '#lib/cli/kept-code';

/** A number of three digits that no source had before: V8 remembers what it compiled in this process. */
let last = 100;
const fresh = () => ++last;

/** A source, of the same length whatever it answers. */
const answering = (answer: number) =>
  `exports.answer = function answer() { return ${String(answer)}; };\n`;

/** With these in the environment Node loads everything itself. */
const LEFT_TO_NODE = ['NODE_V8_COVERAGE', 'NODE_DISABLE_COMPILE_CACHE'];

function setEnv(variables: Record<string, string | undefined>): void {
  for (const [name, value] of Object.entries(variables)) {
    if (value === undefined) Reflect.deleteProperty(process.env, name);
    else process.env[name] = value;
  }
}

/** Whether nobody else can put something in place of what is in a folder. */
function isSafe(folder: string): boolean {
  const { uid, mode } = fs.statSync(folder);
  const isAlone = (mode & 0o022) === 0 || (mode & 0o1000) !== 0;
  const isRight = isAlone && (uid === 0 || uid === process.geteuid?.());
  return isRight && (folder === '/' || isSafe(path.dirname(folder)));
}

/** Root in a namespace of users may not. */
function canGiveAway(file: string): boolean {
  try {
    fs.chownSync(file, 1, 1);
    return true;
  } catch {
    return false;
  }
}

/** A user may have no home. */
function placeOrNone(place: () => string): string | undefined {
  try {
    return place();
  } catch {
    return undefined;
  }
}

describe('compiled code that is kept', () => {
  let folder = '';
  let place = '';
  let file = '';
  let was = 0;

  const { sourceMapsEnabled } = process;
  const { NODE_V8_COVERAGE, NODE_DISABLE_COMPILE_CACHE } = process.env;

  before(function () {
    if (!isSafe(fs.realpathSync(os.tmpdir()))) this.skip(); // nothing would be kept there
    process.setSourceMapsEnabled(false); // with them everything is loaded by Node itself
    for (const name of LEFT_TO_NODE) Reflect.deleteProperty(process.env, name);
  });

  after(() => {
    process.setSourceMapsEnabled(sourceMapsEnabled);
    setEnv({ NODE_V8_COVERAGE, NODE_DISABLE_COMPILE_CACHE });
  });

  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'kept-code-'));
    place = path.join(folder, 'code', 'command');
    file = path.join(folder, 'answer.js');
    was = fresh();
    fs.writeFileSync(file, answering(was));
  });

  afterEach(() => {
    fs.rmSync(folder, { recursive: true });
  });

  const keptCode = () => new KeptCode(() => place, folder);

  /** What a run of the command gets, which then keeps what it compiled. */
  function run(): number {
    const code = keptCode();
    const { answer } = code.load(file) as { answer: () => number };
    const result = answer();
    code.keep();
    return result;
  }

  /** Changes what is kept, behind its first line, and has the sum agree. */
  function change(how: (rest: Buffer) => void): void {
    const kept = fs.readFileSync(place);
    const end = kept.indexOf('\n') + 1;
    const rest = kept.subarray((end + 7) & ~7);
    const before = zlib.crc32(rest);
    how(rest);
    const head = kept.toString('utf8', 0, end).replace(String(before), String(zlib.crc32(rest)));
    const padding = Buffer.alloc(-Buffer.byteLength(head) & 7);
    fs.writeFileSync(place, Buffer.concat([Buffer.from(head), padding, rest]));
  }

  /** Puts the code of the source where that of another is expected, whose answer is returned. */
  function forge(): number {
    was = fresh();
    fs.writeFileSync(file, answering(was));
    run();
    const other = answering(fresh());
    change((rest) => {
      const at = rest.indexOf(answering(was));
      assert.ok(at >= 0 && rest.write(other, at) > 0);
    });
    fs.writeFileSync(file, other);
    return last;
  }

  it('loads what require loads, each file once, and files that need each other', () => {
    fs.writeFileSync(file, "exports.early = true; exports.other = require('./other.js');");
    const other = path.join(folder, 'other.js');
    const names = "names: [__filename, __dirname], separator: require('node:path').sep";
    fs.writeFileSync(other, `module.exports = { seen: require('./answer.js').early, ${names} };`);
    const code = keptCode();
    assert.deepEqual(code.load(file), {
      early: true,
      other: { seen: true, names: [other, folder], separator: path.sep },
    });
    assert.equal(code.load(file), code.load(file));
  });

  it('is written once, for this user alone, and with nothing left beside it', () => {
    assert.equal(run(), was);
    const before = fs.statSync(place);
    assert.equal(before.mode & 0o777, 0o600);
    assert.equal(fs.statSync(path.dirname(place)).mode & 0o777, 0o700);
    assert.equal(run(), was);
    assert.equal(fs.statSync(place).ino, before.ino);
    assert.deepEqual(fs.readdirSync(path.dirname(place)), ['command']);
  });

  it('stays whole when something else is loaded later', () => {
    const code = keptCode();
    code.load(file);
    code.keep();
    const { ino } = fs.statSync(place);
    fs.writeFileSync(path.join(folder, 'late.js'), answering(fresh()));
    code.load(path.join(folder, 'late.js'));
    code.keep();
    assert.equal(fs.statSync(place).ino, ino);
  });

  it('has the functions that were called', () => {
    const sizes = [false, true].map((isCalled) => {
      const code = keptCode();
      const { answer } = code.load(file) as { answer: () => number };
      if (isCalled) answer();
      code.keep();
      const { size } = fs.statSync(place);
      fs.rmSync(place);
      return size;
    });
    const [uncalled = 0, called = 0] = sizes;
    assert.ok(called > uncalled, sizes.join());
  });

  it('is what V8 runs, whatever the source says', () => {
    forge();
    assert.equal(run(), was);
  });

  it('is not used for another source, also of the same length', () => {
    run();
    fs.writeFileSync(file, answering(fresh()));
    assert.equal(run(), last);
    assert.equal(run(), last);
  });

  it("is not used where it, or its folder, is somebody else's or somebody else's to write to", () => {
    const folder = () => path.dirname(place);
    const open = (what: () => string) => () => {
      fs.chmodSync(what(), 0o777);
    };
    const give = (what: () => string) => () => {
      fs.chownSync(what(), 1, 1);
    };
    const ways = [open(() => place), open(folder)];
    if (canGiveAway(file))
      ways.push(
        give(() => place),
        give(folder),
      );
    for (const way of ways) {
      const right = forge();
      way();
      assert.equal(run(), right);
      fs.rmSync(folder(), { recursive: true });
    }
  });

  it("is not written into a folder that is somebody else's to write to", () => {
    fs.mkdirSync(path.dirname(place));
    fs.chmodSync(path.dirname(place), 0o777);
    assert.equal(run(), was);
    assert.deepEqual(fs.readdirSync(path.dirname(place)), []);
  });

  it('is not used where a byte is another', () => {
    const right = forge();
    const kept = fs.readFileSync(place);
    kept.write('x', kept.length - 1);
    fs.writeFileSync(place, kept);
    assert.equal(run(), right);
  });

  it('is kept anew where V8 refuses it', () => {
    const right = forge();
    change((rest) => rest.fill(0, (answering(was).length + 7) & ~7));
    const { ino } = fs.statSync(place);
    assert.equal(run(), right);
    assert.notEqual(fs.statSync(place).ino, ino);
  });

  it('is of one Node and one place', () => {
    for (const other of [/v\d+\.\d+\.\d+/, / \//, / \d+ /]) {
      const right = forge();
      const text = fs.readFileSync(place, 'latin1');
      const changed = text.replace(other, (found) => found.replace(/.$/, 'x'));
      assert.notEqual(changed, text);
      fs.writeFileSync(place, changed, 'latin1');
      assert.equal(run(), right);
    }
  });

  it('is kept again when a run has called more', () => {
    const calls = Array.from(
      { length: 50 },
      (_, i) => `exports.f${String(i)} = () => ${String(i)};`,
    );
    fs.writeFileSync(file, `exports.answer = () => 1;${calls.join('\n')}`);
    run();
    const { ino } = fs.statSync(place);
    run();
    assert.equal(fs.statSync(place).ino, ino, 'no more than before');
    const code = keptCode();
    for (const call of Object.values(code.load(file)) as (() => number)[]) call();
    code.keep();
    assert.notEqual(fs.statSync(place).ino, ino);
  });

  it('is not used through a link, whoever owns what it leads to', () => {
    const right = forge();
    fs.renameSync(place, path.join(folder, 'elsewhere'));
    fs.symlinkSync(path.join(folder, 'elsewhere'), place);
    assert.equal(run(), right);
  });

  it('is not used below a folder in which somebody else may put another in its place', () => {
    const right = forge();
    fs.chmodSync(folder, 0o777);
    assert.equal(run(), right);
    fs.chmodSync(folder, 0o700);
    const source = forge();
    fs.chmodSync(folder, 0o1777); // as /tmp, where nobody renames what is not his
    assert.notEqual(run(), source);
  });

  it('does not wait for a pipe that lies there', () => {
    fs.mkdirSync(path.dirname(place), { mode: 0o700 });
    execFileSync('mkfifo', [place]);
    assert.equal(run(), was);
  });

  it('is left to Node where that has more to tell', () => {
    const ways = [
      () => {
        process.setSourceMapsEnabled(true);
      },
      () => {
        setEnv({ NODE_V8_COVERAGE: '/nonexistent' });
      },
      () => {
        setEnv({ NODE_V8_COVERAGE: '', NODE_DISABLE_COMPILE_CACHE: '1' });
      },
    ];
    for (const way of ways) {
      const right = forge();
      way();
      try {
        assert.equal(run(), right);
      } finally {
        process.setSourceMapsEnabled(false);
        for (const name of LEFT_TO_NODE) Reflect.deleteProperty(process.env, name);
        Reflect.deleteProperty(require.cache, file);
      }
    }
  });

  it('is not used for what Node has loaded itself: there is no second of it', () => {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- as Node does it for others
    const loaded = require(file) as object;
    assert.equal(keptCode().load(file), loaded);
    Reflect.deleteProperty(require.cache, file);
  });

  it('loads a file again that threw', () => {
    fs.writeFileSync(file, "throw new Error('not yet');");
    const code = keptCode();
    assert.throws(() => code.load(file), /not yet/);
    fs.writeFileSync(file, answering(fresh()));
    assert.equal((code.load(file) as { answer: () => number }).answer(), last);
  });

  it('is done without where it is damaged, or no place is known', () => {
    run();
    const whole = fs.readFileSync(place);
    for (const damaged of ['', '[]\n', '{}\n', whole.subarray(0, -9), whole.subarray(9)]) {
      fs.writeFileSync(place, damaged);
      assert.equal(run(), was);
    }
    const code = new KeptCode(() => assert.fail('no home'), folder);
    code.load(file);
    code.keep();
  });

  it('lies in the home of who runs it, whosever home the environment names, or where that says', () => {
    const { HOME, XDG_CACHE_HOME, VHOST_NET_CACHE } = process.env;
    const name = `code-${String(process.geteuid?.())}/vm`;
    const home = () => path.join(os.userInfo().homedir, '.cache/vhost-net', name);
    try {
      setEnv({ HOME: '/home/other', XDG_CACHE_HOME: '/home/other/.cache' });
      for (const relative of ['', 'here']) {
        setEnv({ VHOST_NET_CACHE: relative });
        assert.equal(
          placeOrNone(() => placeOfCode('vm')),
          placeOrNone(home),
        );
      }
      setEnv({ VHOST_NET_CACHE: '/srv/cache' });
      assert.equal(placeOfCode('vm'), path.join('/srv/cache', name));
    } finally {
      setEnv({ HOME, XDG_CACHE_HOME, VHOST_NET_CACHE });
    }
  });

  it('makes folders in which it is used, whatever the mask of new files, and none where it is not', () => {
    const mask = process.umask(0o002);
    try {
      place = path.join(folder, 'cache', 'code', 'command');
      run();
      assert.ok(fs.existsSync(place));
      fs.chmodSync(path.join(folder, 'cache'), 0o775);
      place = path.join(folder, 'cache', 'other', 'command');
      run();
      assert.ok(!fs.existsSync(path.dirname(place)));
    } finally {
      process.umask(mask);
    }
  });

  it('takes with it what others left who were killed', () => {
    fs.mkdirSync(path.dirname(place), { mode: 0o700 });
    fs.writeFileSync(`${place}.left`, '');
    run();
    assert.deepEqual(fs.readdirSync(path.dirname(place)), ['command']);
  });
});
