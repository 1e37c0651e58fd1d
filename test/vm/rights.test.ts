import assert from 'node:assert/strict';
import os from 'node:os';

import { INITIAL_RIGHTS, rightsOfWorker } from '../support/key-rights.js';
import { describeWith } from '../support/requirements.js';

describeWith(['vhost', 'keys'], 'a worker on the only CPU that there is', () => {
  before(function () {
    if (os.cpus().length > 1) this.skip();
  });

  it('has the rights to memory of JavaScript, with which it takes turns', () => {
    const [before, then] = rightsOfWorker();
    assert.notEqual(before?.[1], INITIAL_RIGHTS);
    assert.deepEqual(then, ['VHOST_SET_OWNER', before?.[1]]);
  });
});
