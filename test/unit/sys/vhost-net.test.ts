import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';

import { EventFd } from '#lib/sys/eventfd';
import { VhostNet } from '#lib/sys/vhost-net';

/** Some device: it knows none of the ioctls, which shows that one was made. */
const SOME_DEVICE = '/dev/null';

describe('VhostNet, given a wrong value', () => {
  let vhost: VhostNet;
  let asked: unknown[];
  const listen = (message: unknown) => asked.push(message);
  beforeEach(() => {
    vhost = new VhostNet(SOME_DEVICE);
    asked = [];
    subscribe('vhost-net:ioctl', listen);
  });
  afterEach(() => {
    unsubscribe('vhost-net:ioctl', listen);
    vhost.close();
  });

  /** The call is refused, by the name of what is wrong, and the kernel is not asked. */
  function refused(call: (vhost: VhostNet) => void, name: string, message: RegExp): void {
    assert.throws(() => call(vhost), { name, message });
    assert.deepEqual(asked, []);
  }

  const EVENTS = ['setVringKick', 'setVringCall', 'setVringErr'] as const;
  for (const set of EVENTS) {
    it(`${set}() takes what has no descriptor for a mistake, not for none`, () => {
      for (const wrong of [7, null, {}, 'kick', { descriptor: 7 }]) {
        const given = wrong as unknown as EventFd;
        refused((one) => one[set](0, given), 'TypeError', /^eventfd must be an EventFd/);
      }
      assert.throws(() => vhost[set](0, undefined), { code: 'ENOTTY' });
      using eventfd = new EventFd();
      assert.throws(() => vhost[set](0, eventfd), { code: 'ENOTTY' });
    });
  }

  it('setLogFd() and setBackend() do so as well', () => {
    for (const wrong of [7, null, {}, { descriptor: 7 }]) {
      const given = wrong as never;
      refused((one) => one.setLogFd(given), 'TypeError', /^eventfd must be an EventFd/);
      refused((one) => one.setBackend(0, given), 'TypeError', /^backend must be an object with/);
    }
    assert.throws(() => vhost.setBackend(0, undefined), { code: 'ENOTTY' });
  });

  it('a descriptor that is closed is none either', () => {
    const eventfd = new EventFd();
    eventfd.close();
    refused((one) => one.setVringKick(0, eventfd), 'TypeError', /closed/);
  });

  it('memory, log and addresses are named', () => {
    const none = undefined as never;
    refused((one) => one.setMemTable(none), 'TypeError', /^rows must be an array of rows/);
    refused((one) => one.setMemTable([none]), 'TypeError', /^rows\[0\] must be an object/);
    refused((one) => one.setMemTable([{} as never]), 'TypeError', /^regions must be rows of/);
    refused((one) => one.setLogBase(none), 'TypeError', /^log must be an object/);
    refused((one) => one.setLogBase({} as never), 'TypeError', /^address must be a bigint/);
    refused((one) => one.setVringAddr(0, none), 'TypeError', /^parts must be an object/);
    refused((one) => one.setVringAddr(0, {} as never), 'TypeError', /^desc must be a bigint/);
  });

  it('numbers are named, with what they must be', () => {
    const half = 0.5;
    refused((one) => one.setFeatures(5 as never), 'TypeError', /^features must be a bigint/);
    refused((one) => one.setFeatures(-1n), 'RangeError', /^features must be a bigint in/);
    refused((one) => one.setFeaturesArray(2n ** 1024n), 'RangeError', /^features must be/);
    refused((one) => one.setBackendFeatures(2n ** 64n), 'RangeError', /^features must be/);
    refused((one) => one.setVringNum(half, 1), 'RangeError', /^index must be an integer/);
    refused((one) => one.setVringNum(0, half), 'RangeError', /^size must be an integer/);
    refused((one) => one.setVringBase(0, -1), 'RangeError', /^base must be an integer/);
    refused((one) => one.getVringBase('0' as never), 'TypeError', /^index must be an integer/);
    refused(
      (one) => one.setVringBusyloopTimeout(0, 2 ** 32),
      'RangeError',
      /^microseconds must be an integer/,
    );
  });

  it('everything is refused once it is closed', () => {
    vhost.close();
    refused((one) => one.getFeatures(), 'TypeError', /closed/);
    refused((one) => one.setOwner(), 'TypeError', /closed/);
  });
});
