import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';

import { temporaryFolder } from '../../support/packed.js';

const library = createRequire(__filename).resolve('#lib/native');

/**
 * What a script over the raw exports prints. In a process of its own, because each of these once took
 * its process with it, or never came back.
 */
function run(script: string): string {
  const text = `
    const { native } = require(${JSON.stringify(library)});
    const fails = (fn) => { try { fn(); return 'nothing' } catch (error) { return error.message } };
    const getter = (one, name) => Object.getOwnPropertyDescriptor(one.prototype, name).get;
    ${script}`;
  const options = { encoding: 'utf8', timeout: 20_000 } as const;
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['-e', text], options);
  assert.equal(status, 0, `${signal ?? ''} ${stderr}`);
  return stdout.trim();
}

describe('the native boundary', function () {
  this.timeout(30_000);

  it('passes on what an accessor inside an array throws', () => {
    const text = run(`
      const rows = Object.defineProperty([], 0, { get() { throw new Error('an element') } });
      console.log(fails(() => native.vhostSetMemTable(native.vhostOpen('/dev/null'), rows)));`);
    assert.equal(text, 'an element');
  });

  it('passes on an exception that is not an error, and throws when it is looked at', () => {
    const text = run(`
      const fail = () => { throw 'looked at' };
      const thrown = new Proxy({}, { get: fail, has: fail, getPrototypeOf: fail });
      const rows = Object.defineProperty([], 0, { get() { throw thrown } });
      try {
        native.vhostSetMemTable(native.vhostOpen('/dev/null'), rows);
      } catch (error) {
        console.log(error === thrown);
      }`);
    assert.equal(text, 'true');
  });

  it("takes no External of somebody else's for a descriptor", () => {
    const text = run(`
      const { stdout } = require('node:child_process').spawn('true');
      const external = stdout._handle._externalStream;
      console.log(require('node:util').types.isExternal(external));
      console.log(fails(() => new native.Descriptor(external)));
      console.log(fails(() => Reflect.construct(native.Descriptor, [])));`);
    assert.deepEqual(text.split('\n'), [
      'true',
      'Descriptor has no public constructor',
      'Descriptor has no public constructor',
    ]);
  });

  it('tells the kernel nothing of a vring whose place it could not keep', () => {
    const text = run(`
      const other = native.vhostOpen('/dev/null');
      console.log(fails(() => native.vhostSetVringNum(other, 2, 4)));
      console.log(fails(() => native.vhostSetVringAddr(other, 2, 0, 0n, 0n, 0n, 0n)));`);
    assert.match(text, /^ENOBUFS.* VHOST_SET_VRING_NUM\nENOBUFS.* VHOST_SET_VRING_ADDR$/);
  });

  it('lets nobody exchange the function that makes its errors', () => {
    const text = run(`console.log(fails(() => native.configure(() => 1)));`);
    assert.equal(text, 'configure() was called already');
  });

  it("takes no other class's object for its own, nor one that has it as a prototype", () => {
    const text = run(`
      const pages = new native.Pages(4096, false, false);
      const eventfd = native.eventfdCreate();
      console.log(fails(() => getter(native.Pages, 'buffer').call(eventfd)));
      console.log(fails(() => getter(native.Pages, 'address').call(Object.create(pages))));
      console.log(fails(() => getter(native.Descriptor, 'fd').call(pages)));
      console.log(fails(() => native.Descriptor.prototype.close.call(pages)));
      console.log(fails(() => native.eventfdSignal(Object.create(eventfd))));
      console.log(pages.buffer.byteLength, eventfd.fd > 2);`);
    assert.equal(
      text,
      [
        ...Array.from({ length: 4 }, () => 'Illegal invocation'),
        'eventfd must be a Descriptor',
        '4096 true',
      ].join('\n'),
    );
  });

  it('reads and writes counters of eventfds only, and waits for nothing else', () => {
    const text = run(`
      const socket = native.netlinkOpen();
      console.log(fails(() => native.eventfdDrain(socket)));
      console.log(fails(() => native.eventfdSignal(native.descriptorOpen('/dev/null', true))));
      console.log(fails(() => new native.Watcher(socket, () => {})));
      console.log(fails(() => native.linkGet(native.eventfdCreate(), 'lo')));`);
    const lines = text.split('\n');
    assert.deepEqual(lines.slice(0, 3), [
      'eventfd must be an eventfd',
      'eventfd must be an eventfd',
      'descriptor must be an eventfd, or what linkEventsOpen() made',
    ]);
    assert.match(lines[3] ?? '', /^ENOTSOCK/);
  });

  it('has the kernel log nothing for which no log lies in pages of this package', () => {
    const text = run(`
      const other = native.vhostOpen('/dev/null');
      const pages = new native.Pages(4096, false, false);
      const parts = [pages.address, pages.address, pages.address];
      console.log(fails(() => native.vhostSetLogBase(other, 0x10000n, 4096n)));
      console.log(fails(() => native.vhostSetVringAddr(other, 0, 1, ...parts, 0n)));
      console.log(fails(() => native.vhostSetVringAddr(other, 0, 1, ...parts, 2n ** 64n - 4n)));`);
    assert.deepEqual(text.split('\n'), [
      'the log must be inside pages of this package',
      ...Array.from({ length: 2 }, () => 'log must be a guest address that the log covers'),
    ]);
  });

  it('has no row of a memory table without length, which the kernel may take for one of 2^64 bytes', () => {
    const text = run(`
      const other = native.vhostOpen('/dev/null');
      const { address } = new native.Pages(4096, false, false);
      console.log(fails(() => native.vhostSetMemTable(other, [[0n, 0n, address]])));`);
    assert.equal(text, 'regions must be of at least one byte each');
  });

  it('takes requests of vhost for what was opened as such, and for no duplicate of it', () => {
    const text = run(`
      const vhost = native.vhostOpen('/dev/null');
      const others = [native.descriptorDuplicate(vhost.fd), native.eventfdCreate()];
      for (const other of [vhost, ...others]) {
        console.log(fails(() => native.vhostGetFeatures(other)));
      }`);
    const [first, ...others] = text.split('\n');
    assert.match(first ?? '', /^ENOTTY/);
    assert.deepEqual(others, Array(2).fill('vhost must be a descriptor that vhostOpen() made'));
  });

  it('does not wait for the other end of a FIFO', () => {
    const fifo = path.join(temporaryFolder(), 'fifo');
    execFileSync('mkfifo', [fifo]);
    const text = run(`
      const descriptor = native.descriptorOpen(${JSON.stringify(fifo)}, false);
      console.log(descriptor.fd > 2);
      descriptor.close();
      console.log(descriptor.fd);`);
    assert.equal(text, 'true\n-1');
  });
});
