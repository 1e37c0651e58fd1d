import assert from 'node:assert/strict';

import { Pages, clearStrides, copyToStrides } from '#lib/sys/pages';

const MOST = 2 ** 32 - 1;

describe('copyToStrides()', () => {
  const source = Uint8Array.from({ length: 12 }, (_, i) => i + 1);

  it('puts pieces that lie one behind the other apart, and touches nothing between', () => {
    const target = new Uint8Array(20).fill(0xee);
    copyToStrides(target, 1, 6, source, 3, 3, 3);
    assert.deepEqual(
      [...target],
      [0xee, 4, 5, 6, ...Array<number>(3).fill(0xee), 7, 8, 9].concat(
        ...[Array<number>(3).fill(0xee), [10, 11, 12], Array<number>(4).fill(0xee)],
      ),
    );
  });

  it('reaches the last byte of both, and takes nothing for nothing', () => {
    const target = new Uint8Array(16);
    copyToStrides(target, 0, 12, source, 4, 4, 2);
    assert.deepEqual([...target.subarray(12)], [9, 10, 11, 12]);
    copyToStrides(target, MOST, MOST, source, MOST, MOST, 0);
  });

  const beyond: readonly (readonly [string, number, number, number, number, number])[] = [
    ['the last piece beyond the target', 1, 12, 4, 4, 2],
    ['the last piece beyond the source', 0, 4, 5, 4, 2],
    ['numbers whose product has more than 64 bits of room', MOST, MOST, MOST, MOST, MOST],
    ['a piece longer than both', 0, 1, 0, 17, 1],
  ];
  for (const [what, at, stride, from, length, count] of beyond) {
    it(`refuses ${what}, and copies nothing`, () => {
      const target = new Uint8Array(16);
      assert.throws(() => {
        copyToStrides(target, at, stride, source, from, length, count);
      }, RangeError);
      assert.deepEqual(target, new Uint8Array(16));
    });
  }

  it('refuses views whose memory is gone', () => {
    const pages = Pages.allocate({ byteLength: 4096 });
    const view = new Uint8Array(pages.buffer);
    pages.close();
    assert.throws(() => {
      copyToStrides(view, 0, 4, source, 0, 4, 1);
    }, RangeError);
    assert.throws(() => {
      copyToStrides(new Uint8Array(16), 0, 4, view, 0, 4, 1);
    }, RangeError);
  });

  it('takes a shared buffer, and one that is both', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(16));
    copyToStrides(shared, 0, 8, source, 0, 4, 2);
    copyToStrides(shared, 4, 8, shared, 0, 4, 1);
    assert.deepEqual([...shared], [1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0]);
  });
});

describe('clearStrides()', () => {
  it('writes zeros to pieces that lie apart, to the last byte, and touches nothing between', () => {
    const target = new Uint8Array(14).fill(0xee);
    clearStrides(target, 2, 5, 2, 3);
    const between = Array<number>(3).fill(0xee);
    assert.deepEqual([...target], [0xee, 0xee, 0, 0, ...between, 0, 0, ...between, 0, 0]);
    clearStrides(target, MOST, MOST, MOST, 0);
  });

  const beyond: readonly (readonly [string, number, number, number, number])[] = [
    ['a last piece beyond the target', 1, 12, 4, 2],
    ['numbers whose product has more than 64 bits of room', MOST, MOST, MOST, MOST],
    ['a piece longer than the target', 0, 1, 17, 1],
  ];
  for (const [what, at, stride, length, count] of beyond) {
    it(`refuses ${what}, and writes nothing`, () => {
      const target = new Uint8Array(16).fill(0xee);
      assert.throws(() => {
        clearStrides(target, at, stride, length, count);
      }, RangeError);
      assert.deepEqual(target, new Uint8Array(16).fill(0xee));
    });
  }

  it('refuses a view whose memory is gone', () => {
    const pages = Pages.allocate({ byteLength: 4096 });
    const view = new Uint8Array(pages.buffer);
    pages.close();
    assert.throws(() => {
      clearStrides(view, 0, 4, 4, 1);
    }, RangeError);
  });
});
