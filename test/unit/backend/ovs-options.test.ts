import assert from 'node:assert/strict';
import vm from 'node:vm';

import { antiSpoofRules } from '#lib/backend/ovs-flows';
import { checkOvsOptions, tapOfOvs } from '#lib/backend/ovs-options';
import type { OvsOptions } from '#lib/backend/ovs-options';

const MAC = '02:00:00:00:00:02';

describe('the rules against spoofing', () => {
  it('are all for that port, and what they do not pass they drop', () => {
    const rules = antiSpoofRules(9, {
      mac: MAC,
      ipv4: ['10.9.0.2', '10.9.1.0/24'],
      ipv6: ['fd00::2'],
    });
    assert.ok(rules.every((rule) => rule.startsWith('in_port=9,priority=')));
    const passing = rules.filter((rule) => rule.endsWith(',actions=NORMAL'));
    assert.ok(passing.every((rule) => rule.includes(`dl_src=${MAC}`)));
    assert.equal(rules.at(-1), 'in_port=9,priority=65000,actions=drop');
    assert.ok(passing.some((rule) => rule.includes('arp_spa=10.9.1.0/24')));
  });

  it('take no ICMPv6 in fragments, of which they do not see the type', () => {
    const rules = antiSpoofRules(1, { mac: MAC });
    assert.ok(rules.includes('in_port=1,priority=65050,icmp6,ip_frag=yes,actions=drop'));
  });

  it('take any address of a family that has no list, and none where the list is empty', () => {
    const passing = (options: object) =>
      antiSpoofRules(1, { mac: MAC, ...options }).filter((rule) => /,ip,.*NORMAL/.test(rule))
        .length;
    assert.equal(passing({ ipv4: [] }), 0);
    assert.equal(passing({ ipv4: ['10.0.0.1'] }), 1);
    assert.equal(antiSpoofRules(1, { mac: MAC }).filter((rule) => rule.includes(',ip,')).length, 0);
  });
});

describe('the options of an Open vSwitch port', () => {
  it('are refused by name where they do not fit', () => {
    const wrong: [object, RegExp][] = [
      [{ bridge: 1 }, /^TypeError: ovs\.bridge must be a string, got 1/],
      [{ bridge: '--db=x' }, /^RangeError: ovs\.bridge must be a name/],
      [{ bridge: '' }, /^RangeError: ovs\.bridge/],
      [{ colour: 1 }, /^TypeError: unknown option 'ovs\.colour'/],
      [{ tag: 0 }, /^RangeError: tag must be an integer in 1\.\.4095/],
      [{ tag: '7' }, /^TypeError: tag must be an integer/],
      [{ mtu: 67 }, /^RangeError: mtu/],
      [{ ingressRate: -1 }, /^RangeError: ingressRate/],
      [{ ingressBurst: 0.5 }, /^RangeError: ingressBurst/],
      [{ externalIds: [] }, /^TypeError: externalIds must be an object/],
      [{ externalIds: new Map([['a', '1']]) }, /^TypeError: externalIds must be an object/],
      [{ externalIds: { 'a=b': '1' } }, /^RangeError: externalIds must be keys/],
      [{ externalIds: { a: 1 } }, /^TypeError: externalIds\.a must be a string/],
      [{ externalIds: { a: '1\n2' } }, /^RangeError: externalIds\.a/],
      [{ database: '/run/db.sock' }, /^RangeError: database must be such as unix:/],
      [
        { database: 'tcp:h:1', antiSpoof: { mac: MAC } },
        /^RangeError: database must be this machine/,
      ],
      [{ timeout: 0 }, /^RangeError: timeout/],
      [{ antiSpoof: MAC }, /^TypeError: antiSpoof must be an object/],
      [{ antiSpoof: {} }, /^RangeError: antiSpoof\.mac must be an address/],
      [{ antiSpoof: { mac: '03:00:00:00:00:01' } }, /^RangeError: antiSpoof\.mac/],
      [{ antiSpoof: { mac: MAC, ipv5: [] } }, /^TypeError: unknown option 'antiSpoof\.ipv5'/],
      [
        { antiSpoof: { mac: MAC, ipv4: '10.0.0.1' } },
        /^TypeError: antiSpoof\.ipv4 must be an array/,
      ],
      ...['fd00::1', '10.0.0.1/33', '10.0.0.1/', '10.0.0.1/1/1', '10.0.0.1,actions=NORMAL', 7].map(
        (text) =>
          [
            { antiSpoof: { mac: MAC, ipv4: [text] } },
            /^RangeError: antiSpoof\.ipv4 must be IPv4/,
          ] as [object, RegExp],
      ),
      [
        { antiSpoof: { mac: MAC, ipv6: ['fd00::1%,actions=NORMAL'] } },
        /^RangeError: antiSpoof\.ipv6/,
      ],
      [{ antiSpoof: { mac: MAC, ipv4: new Array(17).fill('10.0.0.1') } }, /at most 16 addresses/],
    ];
    for (const [options, complaint] of wrong) {
      const all = { bridge: 'br0', ...options } as OvsOptions;
      assert.throws(() => checkOvsOptions(all), complaint, JSON.stringify(options));
    }
    assert.throws(() => checkOvsOptions('br0' as never), /^TypeError: ovs must be an object/);
  });

  it('take ids of any plain object, also of another realm or without a prototype', () => {
    const ids = [
      vm.runInNewContext("({ a: '1' })"),
      Object.assign(Object.create(null), { a: '1' }),
    ];
    for (const externalIds of ids as Record<string, string>[]) {
      assert.equal(checkOvsOptions({ bridge: 'br0', externalIds }).externalIds['a'], '1');
    }
  });

  it('give the tap the MTU of the port, and no other', () => {
    const ovs = { bridge: 'br0' };
    assert.deepEqual(tapOfOvs({ tap: 'vn0', ovs }, 1400), { tap: 'vn0', mtu: 1400 });
    assert.deepEqual(tapOfOvs({ tap: 'vn0', mtu: 9000, ovs }, undefined), {
      tap: 'vn0',
      mtu: 9000,
    });
    assert.throws(() => tapOfOvs({ tap: 'vn0', mtu: 9000, ovs }, 1400), /^RangeError: mtu must be/);
    assert.throws(() => tapOfOvs({ tap: '-x', ovs }, undefined), /^RangeError: tap must be a name/);
  });
});
