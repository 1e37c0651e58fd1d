import assert from 'node:assert/strict';

import type { ReceiveFilter } from '#lib/backend/backend';
import { VhostSystemError } from '#lib/errors';
import { GuestFilter, OVERFLOW } from '#lib/vmm/guest-filter';

const EBADFD = 77;

const OWN = Uint8Array.of(2, 0, 0, 0, 0, 2);
const NEXT = Uint8Array.of(2, 0, 0, 0, 0, 3);
const HOST = Uint8Array.of(2, 0, 0, 0, 0, 9);
const GROUP = Uint8Array.of(1, 0, 0x5e, 0, 0, 5);
const BROADCAST = new Uint8Array(6).fill(0xff);
/** Hosts that a tap compares. */
const MOST = 8;
const TABLE = { unicast: [HOST], multicast: [GROUP], overflow: false };

describe('what of all frames a guest receives', () => {
  let filter: GuestFilter;
  /** What the backend was told last. */
  let told: ReceiveFilter | undefined | 'nothing';
  let lost: boolean;

  beforeEach(() => {
    told = 'nothing';
    lost = false;
    filter = new GuestFilter({
      lost: () => lost,
      setReceiveFilter: (wanted) => {
        if (lost) throw new VhostSystemError(EBADFD, 'ioctl', 'TUNSETTXFILTER');
        told = wanted;
        return wanted !== undefined && wanted.unicast.length <= MOST;
      },
    });
    filter.setOwn(OWN);
  });

  it('is everything until its driver says otherwise', () => {
    assert.equal(told, undefined);
    filter.setTable(TABLE);
    filter.setAllMulticast(true);
    assert.equal(told, undefined);
    assert.equal(filter.active, false);
  });

  it('has its own address and the broadcast in it whatever the driver lists', () => {
    filter.setPromiscuous(false);
    assert.equal(filter.active, true);
    assert.deepEqual(told, { unicast: [OWN], multicast: [BROADCAST] });
    filter.setTable(TABLE);
    assert.deepEqual(told, { unicast: [OWN, HOST], multicast: [BROADCAST, GROUP] });
    filter.setAllMulticast(true);
    assert.deepEqual(told, { unicast: [OWN, HOST], multicast: 'all' });
    filter.setAllMulticast(false);
    filter.setPromiscuous(true);
    assert.equal(told, undefined);
    filter.setPromiscuous(false);
    assert.deepEqual(told, { unicast: [OWN, HOST], multicast: [BROADCAST, GROUP] });
  });

  it('is everything with more addresses than anybody would tell apart', () => {
    filter.setPromiscuous(false);
    filter.setTable(OVERFLOW);
    assert.equal(told, undefined);
    assert.equal(filter.active, false);
    filter.setTable(TABLE);
    assert.deepEqual(told, { unicast: [OWN, HOST], multicast: [BROADCAST, GROUP] });
  });

  it('says that nothing is kept away where the backend can not tell so many hosts apart', () => {
    filter.setPromiscuous(false);
    filter.setTable({ ...TABLE, unicast: new Array<Uint8Array>(MOST).fill(HOST) });
    assert.equal(filter.active, false);
    filter.reset();
    assert.equal(told, undefined, 'it is taken away all the same');
    filter.setPromiscuous(false);
    assert.equal(filter.active, true);
  });

  it("follows the driver's address, and knows both where the driver may not have looked", () => {
    filter.setPromiscuous(false);
    filter.addOwn(HOST);
    filter.addOwn(NEXT); // what it was told before nobody has any more
    assert.deepEqual(told, { unicast: [OWN, NEXT], multicast: [BROADCAST] });
    filter.setOwn(NEXT);
    assert.deepEqual(told, { unicast: [NEXT], multicast: [BROADCAST] });
  });

  it('is everything again after a reset, of which the driver need not say anything', () => {
    filter.setPromiscuous(false);
    filter.setTable(TABLE);
    filter.reset();
    assert.equal(told, undefined);
    filter.setPromiscuous(false);
    assert.deepEqual(told, { unicast: [OWN], multicast: [BROADCAST] });
  });

  it('is reset also when the interface has gone, with its filter', () => {
    filter.setPromiscuous(false);
    lost = true;
    assert.throws(() => filter.setTable(TABLE), { code: 'EBADFD' });
    filter.reset();
    assert.equal(filter.active, false);
  });

  it('is not possible with a backend that can keep nothing away', () => {
    assert.equal(new GuestFilter({ lost: () => false }).possible, false);
    assert.equal(filter.possible, true);
  });
});
