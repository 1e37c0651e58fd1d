import type { Port } from '#lib/port/port';

const SOURCE_PORT_AT = 34;
const PAYLOAD_AT = 42;

/** Well below what a queue of a tap holds. */
const WINDOW = 128;

/** A UDP frame's source port and number; undefined of any other frame. */
export function datagram(bytes: Uint8Array): { flow: number; number: number } | undefined {
  if (bytes[12] !== 8 || bytes[13] !== 0 || bytes[23] !== 17) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return { flow: view.getUint16(SOURCE_PORT_AT), number: view.getUint32(PAYLOAD_AT) };
}

/** A UDP frame of a flow that is named by its source port. */
export function makeDatagram(flow: number, number: number): Buffer {
  const frame = Buffer.alloc(60);
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45]);
  frame.writeUInt16BE(46, 16);
  frame.set([64, 17], 22);
  frame.set([10, 9, 0, 1, 10, 9, 0, 2], 26);
  frame.writeUInt16BE(flow, SOURCE_PORT_AT);
  frame.writeUInt16BE(9, 36);
  frame.writeUInt16BE(26, 38);
  frame.writeUInt32BE(number, PAYLOAD_AT);
  return frame;
}

/** Sends so many datagrams of each flow, in turns, with never more than some on their way. */
export async function sendInTurns(
  source: Port,
  flows: readonly number[],
  count: number,
  arrived: () => number,
): Promise<void> {
  for (let number = 0; number < count; number++) {
    for (const flow of flows) source.send(makeDatagram(flow, number));
    await source.drained();
    while ((number + 1) * flows.length - arrived() > WINDOW) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}
