import assert from 'node:assert/strict';

import type { Backend, BackendLink } from '#lib/backend/backend';
import { VhostSystemError } from '#lib/errors';
import { linkOf } from '#lib/vmm/network-card';

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
