import assert from 'node:assert/strict';

import { Random } from '../../support/random.js';
import { completeChecksum, pseudoHeader4, pseudoHeader6 } from '#lib/offload/checksum';
import { inferHeader } from '#lib/offload/infer';
import { findPacket } from '#lib/offload/packet';
import { PLAIN_HEADER } from '#lib/ring/net-header';
import {
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
} from '#lib/uapi/virtio-net';

const MTU = 1500;
const TCP = 6;
const UDP = 17;

/** A frame with an unfinished checksum, as a kernel hands it on to who finishes it. */
function unfinished(version: 4 | 6, protocol: number, payload: number, flags = 0x10): Buffer {
  const ipHeader = version === 4 ? 20 : 40;
  const transport = 14 + ipHeader;
  const header = protocol === TCP ? 20 : 8;
  const frame = Buffer.alloc(transport + header + payload, 0x5a);
  frame.fill(0, 0, transport + header);
  frame.writeUInt16BE(version === 4 ? 0x0800 : 0x86dd, 12);
  const length = header + payload;
  if (version === 4) {
    frame[14] = 0x45;
    frame.writeUInt16BE(20 + length, 16);
    frame[23] = protocol;
    frame.set([10, 9, 0, 1, 10, 9, 0, 2], 26);
  } else {
    frame[14] = 0x60;
    frame.writeUInt16BE(length, 18);
    frame[20] = protocol;
    frame.set([0xfd, 1, 0xfd, 2], 22);
  }
  if (protocol === TCP) frame.set([0x50, flags], transport + 12);
  const pseudo = version === 4 ? pseudoHeader4 : pseudoHeader6;
  frame.writeUInt16BE(pseudo(frame, 14, protocol, length), transport + (protocol === TCP ? 16 : 6));
  return frame;
}

const infer = (frame: Uint8Array) => inferHeader(frame, frame.length, MTU, () => frame);

describe('inferHeader()', () => {
  for (const version of [4, 6] as const) {
    for (const protocol of [TCP, UDP]) {
      it(`finds an unfinished checksum, and none once it is filled in: IPv${String(version)}, ${String(protocol)}`, () => {
        const frame = unfinished(version, protocol, 101);
        const header = infer(frame);
        assert.deepEqual(header, {
          ...PLAIN_HEADER,
          flags: 1,
          csumStart: version === 4 ? 34 : 54,
          csumOffset: protocol === TCP ? 16 : 6,
        });
        completeChecksum(frame, header);
        assert.equal(infer(frame), undefined);
      });
    }
  }

  it('has what is longer than the MTU cut to it', () => {
    const header = infer(unfinished(4, TCP, 60_000));
    assert.equal(header?.gsoType, VIRTIO_NET_HDR_GSO_TCPV4);
    assert.equal(header.gsoSize, 1460);
    assert.equal(header.hdrLen, 54);
    assert.equal(infer(unfinished(6, TCP, 60_000))?.gsoType, VIRTIO_NET_HDR_GSO_TCPV6);
    assert.equal(infer(unfinished(6, TCP, 60_000))?.gsoSize, 1440);
    const reduced = infer(unfinished(4, TCP, 60_000, 0x90));
    assert.equal(reduced?.gsoType, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN);
  });

  it('leaves a long UDP packet whole: how it is to be cut nobody knows', () => {
    assert.equal(infer(unfinished(4, UDP, 4000))?.gsoType, VIRTIO_NET_HDR_GSO_NONE);
  });

  it('looks at the whole of a finished frame only when its checksum happens to look unfinished', () => {
    const frame = unfinished(4, UDP, 4);
    // Payload that makes the finished checksum the sum of the pseudo header.
    const pseudo = frame.readUInt16BE(40);
    let looked = 0;
    for (let word = 0; word <= 0xffff; word++) {
      frame.writeUInt16BE(0, 42);
      frame.writeUInt16BE(word, 44);
      frame.writeUInt16BE(pseudo, 40);
      const header = inferHeader(frame, frame.length, MTU, () => {
        looked++;
        return frame;
      });
      if (header !== undefined) continue;
      frame.writeUInt16BE(pseudo, 40);
      completeChecksum(frame, { ...PLAIN_HEADER, flags: 1, csumStart: 34, csumOffset: 6 });
      assert.equal(frame.readUInt16BE(40), pseudo, 'it was finished');
      assert.ok(looked > 0);
      return;
    }
    assert.fail('no such payload');
  });

  it('says nothing of what is no TCP or UDP, of a fragment, and of nonsense', () => {
    const other = unfinished(4, UDP, 10);
    other[23] = 1;
    assert.equal(infer(other), undefined);
    const fragment = unfinished(4, UDP, 10);
    fragment[20] = 0x20;
    assert.equal(infer(fragment), undefined);
    const short = unfinished(4, TCP, 10).subarray(0, 40);
    assert.equal(infer(short), undefined);
    assert.equal(infer(new Uint8Array(14)), undefined);
  });

  it('says nothing of a packet whose length leaves no room for its headers', () => {
    const frame = Buffer.alloc(60);
    frame.writeUInt16BE(0x0800, 12);
    frame[14] = 0x46; // 24 bytes of header
    frame.writeUInt16BE(20, 16); // in a packet of 20
    frame[23] = UDP;
    frame.set([10, 9, 0, 1, 10, 9, 0, 2], 26);
    frame.writeUInt16BE(pseudoHeader4(frame, 14, UDP, -4), 38 + 6);
    assert.equal(infer(frame), undefined);
  });

  it('says nothing of a packet whose headers do not all lie in the first piece', () => {
    const whole = Buffer.alloc(200);
    for (let at = 12; at < 112; at += 4) whole.writeUInt16BE(0x8100, at); // VLAN tags
    unfinished(4, UDP, 30).copy(whole, 112, 12);
    const first = whole.subarray(0, 124);
    assert.equal(
      inferHeader(first, whole.length, MTU, () => whole),
      undefined,
    );
  });

  it('throws for no frame, whatever is in its headers', () => {
    const random = new Random(1);
    const lookLike = [0, 0x11, 0x45, 0x46, 0x4f, 0x60, 0x81, 0xff, TCP, UDP];
    for (let i = 0; i < 50_000; i++) {
      const frame = unfinished(random.pick([4, 6]), random.pick([TCP, UDP]), random.below(60));
      for (let change = random.below(4); change > 0; change--) {
        frame[12 + random.below(40)] = random.chance(0.5)
          ? random.below(256)
          : random.pick(lookLike);
      }
      lookUnfinished(frame);
      const first = frame.subarray(0, random.chance(0.2) ? random.below(frame.length) : undefined);
      assert.doesNotThrow(
        () => inferHeader(first, frame.length, MTU, () => frame),
        frame.toString('hex'),
      );
    }
  });
});

/** Makes the checksum what the headers, as they are now, say of an unfinished one; where they can. */
function lookUnfinished(frame: Buffer): void {
  const packet = findPacket(frame);
  if (!packet) return;
  const { version, ip, protocol, transport, end } = packet;
  const at = transport + (protocol === TCP ? 16 : 6);
  if (ip + (version === 4 ? 20 : 40) > frame.length || at + 2 > frame.length) return;
  const pseudo = version === 4 ? pseudoHeader4 : pseudoHeader6;
  frame.writeUInt16BE(pseudo(frame, ip, protocol, end - transport) & 0xffff, at);
}
