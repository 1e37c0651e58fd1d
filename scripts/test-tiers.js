'use strict';
// Runs tiers of tests, those that need a device in the lab when this machine has none, and prints the
// total over all of them as its last line.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const root = path.dirname(__dirname);

/** Where each tier runs: `device` means this machine's vhost-net, or else the lab's. */
const TIERS = {
  unit: { where: 'here' },
  types: { where: 'here' },
  package: { where: 'here' },
  install: { where: 'here', onRequest: true }, // every Node with every npm: minutes, and a registry
  kernel: { where: 'device', require: 'vhost,tun,root,ovs', requireOn: { 7: 'tunnels' } },
  vm: {
    where: 'device',
    require: 'vhost,tun,root',
    requireInLab: 'vhost,tun,kvm,root,ovs',
    // The first virtual machine of KVM, and the end of the last, patch the scheduler's code. QEMU before 8.1
    // may translate code on one emulated CPU that another is just patching, and keep the breakpoint of the
    // patch for ever: the lab's kernel then panics (an int3 in __schedule), once in some 25 guests.
    cpus: 1,
    onRequest: true, // minutes: KVM is nested in an emulation there
  },
};

const LAB_KERNELS = ['6.1', '6.12', '7'];
const LAB_SECONDS = 2700;

const USAGE = `usage: scripts/test [options] [${Object.keys(TIERS).join('|')}]...

  --kernel=LIST   run device tiers in the lab, once on each of these kernels: ${LAB_KERNELS.join(',')}
  --tables        write docs/kernels.md of what the device tiers asked these kernels
  --resume        with --kernel: not where all of a tier has passed with these very sources, as committed
  --only=LIST     only the test files of these names, such as ping,stream`;

/** The words of `--NAME=WORD,WORD`. */
function list(args, name) {
  const start = `--${name}=`;
  const found = args.filter((arg) => arg.startsWith(start));
  return found.flatMap((arg) => arg.slice(start.length).split(','));
}

function parse(args) {
  const names = args.filter((arg) => Object.hasOwn(TIERS, arg));
  const options = args.filter((arg) => /^--((kernel|only)=|(tables|resume)$)/.test(arg));
  const kernels = list(args, 'kernel');
  const known = kernels.every((kernel) => LAB_KERNELS.includes(kernel));
  if (!known || names.length + options.length < args.length) {
    console.error(USAGE);
    process.exit(2);
  }
  const usual = Object.keys(TIERS).filter((name) => !TIERS[name].onRequest);
  const chosen = names.length > 0 ? names : usual;
  const [tables, resume] = ['--tables', '--resume'].map((option) => args.includes(option));
  return { kernels, only: list(args, 'only'), tables, resume, names: chosen };
}

/** Why the device tiers cannot run on this machine itself; undefined when they can. */
function whyNoDevice() {
  const probe = spawnSync(path.join(root, 'scripts/lab.d/host-device'), { encoding: 'utf8' });
  return probe.status === 0 ? undefined : probe.stderr.trim();
}

/** The runs of a tier: one, or one in the lab on each kernel. */
function runsOf(name, kernels) {
  if (TIERS[name].where !== 'device') return [{ name, title: name }];
  let chosen = kernels;
  if (kernels.length === 0) {
    const reason = whyNoDevice();
    if (reason === undefined) return [{ name, title: `${name} on this machine` }];
    console.log(`\nno device here (${reason}): ${name} runs in the lab`);
    chosen = ['6.12'];
  }
  return chosen.map((kernel) => ({ name, kernel, title: `${name} on ${kernel}` }));
}

/** Compiled tests of the sources that are there now: of a removed one the compiled file stays. */
function testFiles(name, only) {
  const folder = path.join('test', name);
  if (!fs.existsSync(path.join(root, folder))) return [];
  const files = fs.readdirSync(path.join(root, folder), { recursive: true });
  const wanted = (file) => only.length === 0 || only.includes(path.basename(file, '.test.ts'));
  const tests = files.filter((file) => file.endsWith('.test.ts') && wanted(file)).sort();
  return tests.map((file) => path.join('out', folder, file.replace(/ts$/, 'js')));
}

/** The command that runs tests, wherever it runs. */
function mocha(files) {
  return [
    process.execPath,
    path.join(root, 'node_modules/mocha/bin/mocha.js'),
    '--reporter',
    path.join(root, 'out/test/support/reporter.js'),
    ...files,
  ];
}

function inLab({ name, kernel }, folder, command) {
  const options = ['--kernel', kernel, '--timeout', String(LAB_SECONDS), '--out', folder];
  const { cpus } = TIERS[name];
  if (cpus !== undefined) options.push('--cpus', String(cpus));
  return [path.join(root, 'scripts/lab'), ...options, '--', ...command];
}

function runTier(run, only, folder) {
  const { name, kernel, title } = run;
  console.log(`\n=== ${title} ===`);
  const counts = path.join(folder, `${title}.json`);
  const env = { ...process.env, VHOST_TEST_COUNTS: counts };
  if (kernel !== undefined) env.VHOST_TEST_TRACE = path.join(folder, `${title}.trace`);
  const { require: here, requireInLab = here } = TIERS[name];
  const needs = [kernel === undefined ? here : requireInLab, TIERS[name].requireOn?.[kernel]];
  const promised = needs.filter((need) => need !== undefined).join(',');
  if (promised !== '') env.VHOST_TEST_REQUIRE ??= promised;
  const files = testFiles(name, only);
  const command = kernel === undefined ? mocha(files) : inLab(run, folder, mocha(files));
  const ended = files.length === 0 ? { status: 0 } : spawn(command, env);
  return readCounts(title, counts, ended.status ?? ended.signal);
}

function spawn([program, ...args], env) {
  return spawnSync(program, args, { cwd: root, env, stdio: 'inherit' });
}

function silence(status) {
  if (status === 0) return 'no test';
  if (status === 124) return `not finished within ${LAB_SECONDS} s`;
  return `ended with ${status} and reported nothing`;
}

/** What a tier reported; a tier that was to run and ran nothing has failed. */
function readCounts(title, file, status) {
  const none = { passed: 0, failed: 1, skipped: 0 };
  if (!fs.existsSync(file)) return { ...none, failures: [`${title}: ${silence(status)}`] };
  const counts = JSON.parse(fs.readFileSync(file, 'utf8'));
  const { passed, failed, skipped } = counts;
  if (passed + failed === 0) return { ...none, skipped, failures: [`${title}: no test ran`] };
  if (status !== 0 && failed === 0) {
    const why = `${title}: every test passed, but the runner ended with ${status}`;
    return { passed, failed: 1, skipped, failures: [why] };
  }
  return { ...counts, failures: counts.failures.map((failure) => `${title}: ${failure}`) };
}

function git(...args) {
  return spawnSync('git', args, { cwd: root, encoding: 'utf8' }).stdout?.trim();
}

/** Where results of these sources are kept; undefined where they are not as committed. */
function keptFolder() {
  const tree = git('rev-parse', 'HEAD^{tree}');
  return tree && git('status', '--porcelain') === ''
    ? path.join(root, 'out/kept', tree)
    : undefined;
}

/** What a run in the lab left: its counts, and what it traced, if anything. */
function copyResults({ title }, from, to) {
  fs.mkdirSync(to, { recursive: true });
  const names = ['json', 'trace'].map((kind) => `${title}.${kind}`);
  const there = names.filter((name) => fs.existsSync(path.join(from, name)));
  for (const name of there) fs.copyFileSync(path.join(from, name), path.join(to, name));
}

/** The counts of an earlier run of the same sources, whose files are those of this one then. */
function resumed(run, folder) {
  const kept = keptFolder();
  const counts = `${run.title}.json`;
  if (!kept || !fs.existsSync(path.join(kept, counts))) return undefined;
  console.log(`\n=== ${run.title}: all of it has passed with these sources ===`);
  copyResults(run, kept, folder);
  return readCounts(run.title, path.join(folder, counts), 0);
}

/** All of a tier, on a kernel in the lab: what passed need not be run again. */
function runOnKernel(run, folder, resume) {
  const known = resume ? resumed(run, folder) : undefined;
  if (known) return known;
  const before = keptFolder();
  const counts = runTier(run, [], folder);
  const kept = keptFolder();
  if (counts.failed === 0 && kept && kept === before) copyResults(run, folder, kept);
  return counts;
}

/** The tables of what the runs in the lab traced; with --only, of these files alone. Of what failed: none. */
function writeTables(folder, failed) {
  const files = fs.readdirSync(folder).filter((file) => file.endsWith('.trace'));
  if (failed > 0 || files.length === 0) {
    const why = failed > 0 ? 'tests failed' : 'nothing ran in the lab';
    console.log(`\ndocs/kernels.md stays as it was: ${why}`);
    return;
  }
  const traces = files.map((file) => JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8')));
  const { kernelTables } = require(path.join(root, 'out/test/support/kernel-tables.js'));
  fs.writeFileSync(path.join(root, 'docs/kernels.md'), kernelTables(traces));
  console.log('\nwrote docs/kernels.md');
}

function main() {
  const { kernels, only, tables, resume, names } = parse(process.argv.slice(2));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vhost-net-test-'));
  const total = { passed: 0, failed: 0, skipped: 0 };
  const failures = [];
  try {
    for (const run of names.flatMap((name) => runsOf(name, kernels))) {
      const isWhole = run.kernel !== undefined && only.length === 0;
      const counts = isWhole ? runOnKernel(run, folder, resume) : runTier(run, only, folder);
      for (const key of Object.keys(total)) total[key] += counts[key];
      failures.push(...counts.failures);
    }
    if (tables) writeTables(folder, total.failed);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
    console.log();
    for (const failure of failures) console.log(`failed: ${failure}`);
  }
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  process.exitCode = total.failed === 0 ? 0 : 1;
}

main();
