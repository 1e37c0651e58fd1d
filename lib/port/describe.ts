import type { Frame } from './frame.js';
import { inferHeader } from '../offload/infer.js';
import { PLAIN_HEADER, writeHeader } from '../ring/net-header.js';

/** For frames that came without a header: finds out what is unfinished, and writes what they lack. */
export function describeWith(mtu: number): (frame: Frame) => void {
  return (frame) => {
    const header = inferHeader(frame.first, frame.length, mtu, () => frame.bytes);
    const { words16, headerSize } = frame.area;
    writeHeader(words16, frame.headerAt, header ?? PLAIN_HEADER, headerSize);
  };
}
