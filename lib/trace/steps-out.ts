import { HEADER_SIZE, PAYLOAD_AT } from './echo.js';
import type { Notes } from './notes.js';
import type { KernelRecord } from './record.js';
import { advance, noteKick, runs, wakes, who } from './words.js';
import type { Walk } from './walk.js';

/** The last field of `struct virtio_net_hdr_v1` says how many slots a frame spans. */
const NUM_BUFFERS_AT = 10;

/** 6. The port takes what the worker has used. */
export function taking({ taken, before, after }: Walk, notes: Notes): void {
  if (!taken) {
    notes.lack('the batch: the frame did not come so far');
    return;
  }
  notes.add('port', taken.at, 'the batch is there');
  const buffers = taken.slot.readUInt16LE(NUM_BUFFERS_AT);
  const claim = `header in slot ${String(taken.head)}: num_buffers ${String(buffers)}`;
  notes.must('memory', undefined, buffers === 1, claim);
  if (!before || !after) {
    notes.lack('the counters: no reply came');
    return;
  }
  const frames = after.receive.frames - before.receive.frames;
  const calls = after.receive.calls - before.receive.calls;
  const counted = `counters: calls + ${String(calls)}, frames + ${String(frames)}`;
  notes.must('port', undefined, frames > 0 && calls > 0, counted);
}

/** 7. The handler sees the memory that the worker wrote. */
export function handler({ taken, handled, payload }: Walk, notes: Notes): void {
  if (!taken || !handled) {
    notes.lack('the handler: the frame did not come so far');
    return;
  }
  const { at, frame } = handled;
  const claim = `the handler has ${String(frame.length)} bytes, those in slot ${String(taken.head)}`;
  notes.must('port', at, frame.equals(taken.slot.subarray(HEADER_SIZE)), claim);
  const content = frame.subarray(PAYLOAD_AT);
  notes.must('port', undefined, content.equals(payload), `they carry "${content.toString()}"`);
}

/** 8. The reply is in a slot, and not yet for the worker to see. */
export function sending({ sent, put }: Walk, notes: Notes): void {
  if (!sent || !put) {
    notes.lack('the reply: it was not sent');
    return;
  }
  const head = String(put.head);
  const [header, frame] = [put.slot.subarray(0, HEADER_SIZE), put.slot.subarray(HEADER_SIZE)];
  const empty = header.every((byte) => byte === 0) && frame.equals(put.reply);
  const holds = `slot ${head} holds an empty header and the reply, ${String(frame.length)} bytes`;
  notes.must('memory', put.at, empty, holds);
  const { availIdx } = put.rings.transmit;
  const claim = `transmit ring: head ${head} is in place, the avail index still ${String(availIdx)}`;
  notes.must('memory', undefined, availIdx === sent.rings.transmit.availIdx, claim);
}

/** 9. The worker may see it, and is woken if it asked for that. */
export function publishing(walk: Walk, notes: Notes, kernel: KernelRecord): void {
  const { put, published, replied, reader } = walk;
  if (!put || !published) {
    notes.lack('the avail index: nothing was published');
    return;
  }
  const { availIdx: from, availEvent } = put.rings.transmit;
  const asked = `transmit ring before: a kick is asked for at ${String(advance(availEvent, 1))}`;
  notes.must('memory', undefined, availEvent === from, asked);
  const { kick } = reader.transmit;
  noteKick(kick, { since: put.at, until: replied?.at }, notes, kernel);
  const to = published.rings.transmit.availIdx;
  const claim = `transmit ring: avail index ${String(from)} → ${String(to)}`;
  notes.must('memory', published.at, to === advance(from, 1), claim);
  countKick(walk, notes);
}

function countKick({ before, after }: Walk, notes: Notes): void {
  if (!before || !after) {
    notes.lack('the counters: no reply came');
    return;
  }
  const kicks = after.transmit.kicks - before.transmit.kicks;
  notes.must('port', undefined, kicks > 0, `counters: kicks + ${String(kicks)}`);
}

/** 10. The worker takes it out, and the stack has the reply. */
export function out(walk: Walk, notes: Notes, kernel: KernelRecord): void {
  const { put, replied, payload } = walk;
  const span = { since: put?.at, until: replied?.at };
  const delivered = kernel.delivered(put?.reply.length ?? 0, span);
  notes.perhaps(kernel.workerRuns({ ...span, until: delivered?.nanoseconds }), runs);
  notes.event('net:netif_receive_skb', delivered, (event) => {
    const { dev = '', len = '', skbaddr = '' } = event.fields;
    return `${who(event)} gives the stack skb ${skbaddr} from ${dev}, ${len} bytes of IPv4`;
  });
  if (!replied) {
    notes.lack('the reply: it did not come to the socket');
    return;
  }
  notes.perhaps(kernel.thisWoken({ ...span, since: delivered?.nanoseconds }), wakes);
  const text = `the socket has the reply: "${replied.payload.toString()}"`;
  notes.must('socket', replied.at, replied.payload.equals(payload), text);
  completed(walk, notes);
}

function completed({ put, done }: Walk, notes: Notes): void {
  if (!put || !done) {
    notes.lack('the used entry: the worker did not give the slot back');
    return;
  }
  const [from, to] = [put.rings.transmit.usedIdx, done.rings.transmit.usedIdx];
  const { head } = done.rings.transmit.used(from);
  const claim = `transmit ring: used index ${String(from)} → ${String(to)}, head ${String(head)}`;
  notes.must('memory', done.at, to === advance(from, 1) && head === put.head, claim);
}
