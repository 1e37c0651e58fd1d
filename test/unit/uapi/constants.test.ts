import assert from 'node:assert/strict';

import { native } from '#lib/native';
import * as kvm from '#lib/uapi/kvm';
import * as link from '#lib/uapi/link';
import * as pci from '#lib/uapi/pci';
import * as tun from '#lib/uapi/tun';
import * as vhost from '#lib/uapi/vhost';
import * as virtio from '#lib/uapi/virtio';
import * as virtioNet from '#lib/uapi/virtio-net';
import * as virtioPci from '#lib/uapi/virtio-pci';

/** What no header of the kernel's user-space API has. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  VHOST_NET_VQ_RX: 'an enum inside drivers/vhost/net.c',
  VHOST_NET_VQ_TX: 'an enum inside drivers/vhost/net.c',
};

const headers = new Map(Object.entries(native.constants()));

function numbers(room: object): [name: string, value: number][] {
  return Object.entries(room).filter(([, value]) => typeof value === 'number');
}

const ROOMS = {
  kvm,
  link,
  pci,
  tun,
  vhost,
  virtio,
  'virtio-net': virtioNet,
  'virtio-pci': virtioPci,
};

for (const [file, room] of Object.entries(ROOMS)) {
  describe(`lib/uapi/${file}.ts`, () => {
    for (const [name, value] of numbers(room)) {
      const where = ELSEWHERE[name];
      if (where === undefined) {
        it(`${name} is what the header says`, () => {
          assert.equal(value, headers.get(name));
        });
      } else {
        it(`${name} is in no header: ${where}`, () => {
          assert.equal(headers.get(name), undefined);
        });
      }
    }
  });
}

describe('constants()', () => {
  it('has no name that lib/uapi lacks', () => {
    const ours = new Set(
      Object.values(ROOMS)
        .flatMap(numbers)
        .map(([name]) => name),
    );
    assert.deepEqual(
      [...headers.keys()].filter((name) => !ours.has(name)),
      [],
    );
  });
});
