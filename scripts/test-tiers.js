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
  kernel: { where: 'device', require: 'vhost,tun,root' },
};

const LAB_SECONDS = 900;

function parse(args) {
  const kernel = args.find((arg) => arg.startsWith('--kernel='))?.slice('--kernel='.length);
  const names = args.filter((arg) => !arg.startsWith('--'));
  for (const name of names) {
    if (!(name in TIERS))
      throw new Error(`no tier ${name}: there are ${Object.keys(TIERS).join(', ')}`);
  }
  return { kernel, names: names.length > 0 ? names : Object.keys(TIERS) };
}

function hasDevice() {
  const probe = spawnSync(path.join(root, 'scripts/lab.d/host-device'), { encoding: 'utf8' });
  if (probe.status !== 0) console.log(`device tiers: in the lab (${probe.stderr.trim()})`);
  return probe.status === 0;
}

/** The command that runs one tier's tests, wherever it runs. */
function mocha(name) {
  return [
    process.execPath,
    path.join(root, 'node_modules/mocha/bin/mocha.js'),
    '--reporter',
    path.join(root, 'out/test/support/reporter.js'),
    `out/test/${name}/**/*.test.js`,
  ];
}

function runTier(name, folder, { kernel, device }) {
  const counts = path.join(folder, `${name}.json`);
  const env = { ...process.env, VHOST_TEST_COUNTS: counts };
  let command = mocha(name);
  if (TIERS[name].where === 'device') {
    env.VHOST_TEST_REQUIRE ??= TIERS[name].require;
    if (kernel !== undefined || !device) {
      const options = [
        '--kernel',
        kernel ?? '6.12',
        '--timeout',
        String(LAB_SECONDS),
        '--out',
        folder,
      ];
      command = [path.join(root, 'scripts/lab'), ...options, '--', ...command];
    }
  }
  console.log(`\n=== ${name} ===`);
  const [program, ...args] = command;
  const { status } = spawnSync(program, args, { cwd: root, env, stdio: 'inherit' });
  return readCounts(name, counts, status);
}

/** What a tier reported; a tier that was to run and ran nothing has failed. */
function readCounts(name, file, status) {
  const none = { passed: 0, failed: 1, skipped: 0 };
  if (!fs.existsSync(file)) {
    console.log(`${name}: ended with status ${status} and reported nothing`);
    return none;
  }
  const counts = JSON.parse(fs.readFileSync(file, 'utf8'));
  if (counts.passed + counts.failed === 0) {
    console.log(`${name}: no test ran`);
    return { ...none, skipped: counts.skipped };
  }
  if (status !== 0 && counts.failed === 0) {
    console.log(`${name}: every test passed, but the runner ended with status ${status}`);
    counts.failed = 1;
  }
  return counts;
}

function main() {
  const { kernel, names } = parse(process.argv.slice(2));
  const device = names.some((name) => TIERS[name].where === 'device') && hasDevice();
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vhost-net-test-'));
  const total = { passed: 0, failed: 0, skipped: 0 };
  try {
    for (const name of names) {
      const counts = runTier(name, folder, { kernel, device });
      for (const key of Object.keys(total)) total[key] += counts[key];
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
  console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  process.exitCode = total.failed === 0 ? 0 : 1;
}

main();
