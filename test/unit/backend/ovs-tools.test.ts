import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { runOvs } from '#lib/backend/ovs-tools';
import type { OvsError } from '#lib/errors';

describe('a run of a program of Open vSwitch', () => {
  const { PATH } = process.env;
  let folder: string;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vnt-ovs-tools-'));
    process.env['PATH'] = `${folder}:${PATH ?? ''}`;
  });
  afterEach(() => {
    process.env['PATH'] = PATH;
    fs.rmSync(folder, { recursive: true });
  });

  /** Puts a script in the place of the program. */
  function program(script: string): void {
    fs.writeFileSync(path.join(folder, 'ovs-vsctl'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  const run = (...args: string[]) => runOvs({ program: 'ovs-vsctl', args, timeout: 1000 });

  it('gives arguments as they are, with a time-out, and what is to be read', async () => {
    program('printf "%s|" "$@"; cat');
    const args = ['a b', '$(id)', '"', ''];
    const output = await runOvs({ program: 'ovs-vsctl', args, input: 'rules', timeout: 2500 });
    assert.equal(output, '--timeout=3|a b|$(id)|"||rules');
  });

  it('says that the program is not there', async () => {
    process.env['PATH'] = folder;
    await assert.rejects(run(), { name: 'OvsError', code: 'ERR_VHOST_OVS_TOOL' });
  });

  it('tells by the complaint what is wrong', async () => {
    const socket = 'unix:/x/db.sock: database connection failed';
    const complaints: [string, string][] = [
      [`${socket} (No such file or directory)`, 'ERR_VHOST_OVS_DAEMON'],
      [`${socket} (Connection refused)`, 'ERR_VHOST_OVS_DAEMON'],
      [`${socket} (Permission denied)`, 'ERR_VHOST_OVS_DENIED'],
      ['ovs-ofctl: br0 is not a bridge or a socket', 'ERR_VHOST_OVS_DAEMON'],
      ['ovs-vsctl: no bridge named br0', 'ERR_VHOST_OVS_BRIDGE'],
      ['something else', 'ERR_VHOST_OVS_PORT'],
    ];
    for (const [message, code] of complaints) {
      program(`echo '${message}' >&2; exit 1`);
      await assert.rejects(run('show'), (error: OvsError) => {
        assert.deepEqual([error.code, error.message], [code, message]);
        assert.deepEqual(error.command, ['ovs-vsctl', '--timeout=1', 'show']);
        return true;
      });
    }
  });

  it('tells a daemon that does not answer, which the program ends by a signal', async () => {
    program('kill -ALRM $$');
    await assert.rejects(run(), {
      code: 'ERR_VHOST_OVS_DAEMON',
      message: /did not answer in time/,
    });
  });

  it('ends a program that is not waited for any more, and rejects with the reason', async () => {
    program('exec sleep 60');
    const controller = new AbortController();
    const { signal } = controller;
    const running = runOvs({ program: 'ovs-vsctl', args: [], timeout: 50_000, signal });
    controller.abort('enough');
    await assert.rejects(running, (reason) => reason === 'enough');
  });

  it('ends a program that does not end by itself', async () => {
    program('exec sleep 60');
    await assert.rejects(run(), { code: 'ERR_VHOST_OVS_DAEMON' });
  });
});
