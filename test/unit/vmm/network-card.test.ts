import assert from 'node:assert/strict';

import type { Backend, BackendLink } from '#lib/backend/backend';
import { VhostSystemError } from '#lib/errors';
import { linkOf } from '#lib/vmm/network-card';
import type { NetworkCard } from '#lib/vmm/network-card';
import { NetworkCards } from '#lib/vmm/network-cards';

const ENODEV = 19;

describe('the interface behind a card', () => {
  const link = { name: 'vm0', index: 7 } as BackendLink;
  const backend = (fields: Partial<Backend>) => fields as Backend;

  it('is what it is now', () => {
    assert.equal(linkOf(backend({ lost: () => false, link: () => link })), link);
  });

  it('is none when it is gone, or is in another namespace and so can not be asked', () => {
    const refuse = () => {
      throw new VhostSystemError(ENODEV, 'netlink', 'RTM_GETLINK');
    };
    assert.equal(linkOf(backend({ lost: () => true, link: refuse })), undefined);
    assert.equal(linkOf(backend({ lost: () => false, link: refuse })), undefined);
  });
});

describe('the cards of a machine', () => {
  const [first, second] = ['vm0', 'vm1'].map(
    (name) => ({ name, workers: [] }) as unknown as NetworkCard,
  );

  it('are found by their places, and no other', () => {
    assert.ok(first && second);
    const cards = new NetworkCards([first, second]);
    assert.equal(cards.at(1), second);
    assert.deepEqual(cards.names, ['vm0', 'vm1']);
    for (const index of [2, -1, 0.5, NaN, '0', 'length', undefined]) {
      assert.throws(() => cards.at(index as number), /card must be an integer below 2/);
    }
  });
});
