import type { Notes } from './notes.js';
import type { KernelRecord } from './record.js';
import { advance, duration, noteKick, runs, wakes, who } from './words.js';
import type { Moment, Sighting, Walk } from './walk.js';

/** What step 1 consists of, in the kernel's words. */
const ACTS = [
  'TUNSETIFF',
  'VHOST_SET_OWNER',
  'VHOST_SET_FEATURES',
  'VHOST_SET_MEM_TABLE',
  'VHOST_SET_VRING_ADDR',
  'VHOST_NET_SET_BACKEND',
];

/** 1. Tap, memory, worker and rings are there. */
export function up({ ioctls, worker }: Walk, notes: Notes): void {
  const done = ioctls.filter(({ message: { error, request } }) => !error && ACTS.includes(request));
  for (const act of done) noteIoctl(act, notes);
  const requests = done.map(({ message }) => message.request);
  for (const act of ACTS) if (!requests.includes(act)) notes.lack(`${act}: it did not happen`);
  if (worker) {
    const { name, tid, kind } = worker;
    notes.add('port', undefined, `the worker is ${name}, tid ${String(tid)}, a ${kind}`);
  } else notes.lack('the worker: it can not be known which thread it is');
}

function noteIoctl({ at, message }: Walk['ioctls'][number], notes: Notes): void {
  const { request, nanoseconds, arguments: given } = message;
  const { index } = given as { readonly index?: number };
  const ring = index === undefined ? '' : ` of ring ${String(index)}`;
  notes.add('ioctl', at - BigInt(nanoseconds), `${request}${ring}, ${duration(nanoseconds)}`);
}

/** 2. The worker knows where to receive. */
export function buffers({ opened, reader, sent }: Walk, notes: Notes, kernel: KernelRecord): void {
  const { kick, size } = reader.receive;
  noteKick(kick, { since: 0n, until: sent?.at }, notes, kernel);
  if (opened) {
    const { availIdx } = opened.rings.receive;
    const claim = `receive ring: avail index ${String(availIdx)}, of ${String(size)} slots`;
    notes.must('memory', opened.at, availIdx === size, claim);
  } else notes.lack('the receive ring: no port was opened');
}

/** 3. The stack hands the tap a frame, which wakes the worker. */
export function into({ sent, taken }: Walk, notes: Notes, kernel: KernelRecord): void {
  const { queued, accepted } = kernel;
  notes.event('net:net_dev_start_xmit', queued, (event) => {
    const { dev = '', len = '', skbaddr = '' } = event.fields;
    return `${who(event)} hands ${dev} a frame of ${len} bytes, skb ${skbaddr}`;
  });
  const span = { since: queued?.nanoseconds, until: taken?.at };
  notes.event('sched:sched_waking', kernel.workerWoken(span), wakes);
  notes.perhaps(accepted, ({ fields }) => `${fields['dev'] ?? ''} has queued it`);
  if (sent) noteCallWanted(sent, notes);
  else notes.lack('the receive ring before: no datagram was sent');
}

function noteCallWanted({ rings }: Moment, notes: Notes): void {
  const { usedIdx, usedEvent } = rings.receive;
  const wanted = advance(usedEvent, 1);
  const before = `receive ring before: used index ${String(usedIdx)}, a call is asked for at`;
  notes.must('memory', undefined, wanted === advance(usedIdx, 1), `${before} ${String(wanted)}`);
}

/** 4. The worker copies it into a slot and says so. */
export function work({ sent, taken }: Walk, notes: Notes, kernel: KernelRecord): void {
  const { queued, copied } = kernel;
  const until = copied?.nanoseconds;
  notes.perhaps(kernel.workerRuns({ since: queued?.nanoseconds, until }), runs);
  notes.event('skb:skb_copy_datagram_iovec', copied, (event) => {
    const { skbaddr = '', len = '' } = event.fields;
    return `${who(event)} copies skb ${skbaddr} out, ${len} bytes`;
  });
  notes.perhaps(kernel.thisWoken({ since: until, until: taken?.at }), wakes);
  if (sent && taken) noteUsed(sent, taken, notes);
  else notes.lack('the used entry: the frame did not come so far');
}

function noteUsed(sent: Moment, taken: Sighting, notes: Notes): void {
  const [from, to] = [sent.rings.receive.usedIdx, taken.rings.receive.usedIdx];
  const entry = `head ${String(taken.head)}, ${String(taken.slot.length)} bytes`;
  const claim = `receive ring: used index ${String(from)} → ${String(to)}, ${entry}`;
  notes.must('memory', undefined, to !== from, claim);
}

/** 5. The call reaches the event loop. */
export function loop({ taken, reader }: Walk, notes: Notes, kernel: KernelRecord): void {
  const { call } = reader.receive;
  const span = { since: kernel.copied?.nanoseconds, until: taken?.at };
  notes.perhaps(kernel.thisRuns(span), runs);
  notes.event('syscalls:sys_exit_read', kernel.counterRead(call, span), (event) => {
    return `${who(event)} has taken the counter of the call eventfd, ${String(call)}`;
  });
}
