import type { Frame } from './frame.js';
import { forwardHeader } from './offload.js';
import { completeChecksum } from '../offload/checksum.js';
import { segment } from '../offload/segment.js';
import type { CompleteFrames } from '../offload/segment.js';
import { VIRTIO_NET_HDR_GSO_NONE } from '../uapi/virtio-net.js';

/** Finishes received frames for a device that can't, in memory that is used again. */
export class SoftwareOffload {
  #whole = new Uint8Array(0);
  #segment = new Uint8Array(0);

  /**
   * The complete frames that a received one stands for, valid until the next call. The received one
   * stays as it is: it may be forwarded to several ports.
   *
   * @throws {RangeError} The frame does not fit its header, or is of a kind that can't be finished.
   */
  finish(frame: Frame): CompleteFrames {
    const header = forwardHeader(frame.header);
    if (header.gsoType === VIRTIO_NET_HDR_GSO_NONE) {
      const bytes = this.#copy(frame);
      completeChecksum(bytes, header);
      return alone(bytes);
    }
    this.#segment = atLeast(this.#segment, frame.length);
    return segment(frame.contiguous ? frame.bytes : this.#copy(frame), header, this.#segment);
  }

  #copy(frame: Frame): Uint8Array {
    this.#whole = atLeast(this.#whole, frame.length);
    frame.copyTo(this.#whole);
    return this.#whole.subarray(0, frame.length);
  }
}

function alone(bytes: Uint8Array): CompleteFrames {
  const { length } = bytes;
  return { count: 1, length, lastLength: length, [Symbol.iterator]: () => [bytes].values() };
}

function atLeast(memory: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  return memory.length >= length ? memory : new Uint8Array(length);
}
