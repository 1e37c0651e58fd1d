'use strict';
// What npm runs when the package is installed. The package carries an addon; where that one loads there
// is nothing to do, and nothing to do without. Where it does not, one is compiled here.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const root = path.dirname(__dirname);
const platform = `${process.platform}-${process.arch}`;
const carried = path.join(root, 'prebuilds', platform, 'vhost_net.node');

/** Why the carried addon cannot serve, or undefined. */
function whyNot() {
  if (!fs.existsSync(carried)) return `the package carries no addon for ${platform}`;
  try {
    require(carried);
    return undefined;
  } catch (error) {
    return error.message;
  }
}

/** Node's own headers, where they lie beside it, save node-gyp a download. */
function headers() {
  const prefix = path.dirname(path.dirname(process.execPath));
  return fs.existsSync(path.join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];
}

/** npm says where its node-gyp is; others have it in PATH. */
function compile() {
  const gyp = process.env.npm_config_node_gyp;
  const [command, ...first] = gyp === undefined ? ['node-gyp'] : [process.execPath, gyp];
  const args = [...first, 'rebuild', ...headers()];
  return spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status === 0;
}

const reason = whyNot();
if (reason !== undefined) {
  console.error(`vhost-net: compiling the addon, because ${reason}`);
  if (!compile()) {
    console.error(
      'vhost-net: compiling needs python3, make, a C++17 compiler and the headers of Linux',
    );
    process.exitCode = 1;
  }
}
