import assert from 'node:assert/strict';

import fc from 'fast-check';

import { MacTable, readAddress } from '#lib/switch/mac-table';

describe('MacTable', () => {
  it('finds an address where it was seen last', () => {
    const table = new MacTable<string>();
    assert.equal(table.find(1, 0), undefined);
    table.learn(1, 'a', 0);
    table.learn(2, 'b', 0);
    assert.equal(table.find(1, 0), 'a');
    table.learn(1, 'b', 1);
    assert.equal(table.find(1, 1), 'b');
    assert.equal(table.size, 2);
  });

  it('forgets an address that was not seen for its time, and not one that was', () => {
    const table = new MacTable<string>({ ageSeconds: 10 });
    table.learn(1, 'a', 0);
    table.learn(2, 'a', 0);
    table.learn(2, 'a', 500);
    assert.equal(table.find(1, 10_000), 'a');
    assert.equal(table.find(1, 10_001), undefined);
    assert.equal(table.find(2, 10_500), 'a');
    assert.equal(table.find(2, 10_501), undefined);
    assert.equal(table.size, 0);
  });

  it('forgets all addresses of a port, and none of another', () => {
    const table = new MacTable<string>();
    for (let address = 0; address < 10; address++) table.learn(address, 'ab'[address % 2] ?? '', 0);
    table.forget('a');
    table.forget('a');
    assert.equal(table.size, 5);
    assert.equal(table.find(0, 0), undefined);
    assert.equal(table.find(1, 0), 'b');
  });

  it('keeps the addresses of others when one port makes them up, and of that the latest', () => {
    const table = new MacTable<string>({ addresses: 100 });
    for (let address = 0; address < 10; address++) table.learn(address, 'honest', 0);
    for (let made = 1000; made < 5000; made++) table.learn(made, 'flood', made);
    assert.equal(table.size, 100);
    for (let address = 0; address < 10; address++)
      assert.equal(table.find(address, 5000), 'honest');
    assert.equal(table.find(4910, 5000), 'flood');
    assert.equal(table.find(4909, 5000), undefined);
  });

  it('lets that address give way which was not seen for the longest time', () => {
    const table = new MacTable<string>({ addresses: 3 });
    for (const address of [1, 2, 3]) table.learn(address, 'a', 0);
    table.learn(1, 'a', 2000);
    table.learn(4, 'a', 3000);
    assert.equal(table.find(2, 3000), undefined);
    for (const address of [1, 3, 4]) assert.equal(table.find(address, 3000), 'a');
  });

  it('never exceeds its limit, and finds what was learned last, whatever happens', () => {
    const step = fc.record({
      address: fc.integer({ min: 0, max: 20 }),
      port: fc.constantFrom('a', 'b', 'c'),
      forget: fc.boolean(),
      pause: fc.constantFrom(0, 1, 900, 2000),
    });
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 60 }),
        fc.integer({ min: 1, max: 8 }),
        (steps, addresses) => {
          const table = new MacTable<string>({ addresses, ageSeconds: 5 });
          let now = 0;
          for (const { address, port, forget, pause } of steps) {
            now += pause;
            if (forget) table.forget(port);
            else table.learn(address, port, now);
            if (!forget) assert.equal(table.find(address, now), port);
            else assert.notEqual(table.find(address, now), port);
            assert.ok(table.size <= addresses);
          }
        },
      ),
    );
  });

  it('reads an address as a number of 48 bits', () => {
    const bytes = Uint8Array.from([0, 0xff, 0xfe, 0x80, 0x01, 0x02, 0x83]);
    assert.equal(readAddress(bytes, 1), 0xfffe_8001_0283);
  });

  it('names the option that does not fit', () => {
    for (const addresses of [0, -1, 1.5, NaN, 1 << 21]) {
      assert.throws(() => new MacTable({ addresses }), /^RangeError: addresses must be an integer/);
    }
    for (const ageSeconds of [0, -1, NaN]) {
      assert.throws(() => new MacTable({ ageSeconds }), /^RangeError: ageSeconds must be more/);
    }
    assert.throws(() => new MacTable({ addresses: '9' as never }), /^TypeError: addresses must be/);
  });
});
