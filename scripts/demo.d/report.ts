import fs from 'node:fs';

import type { PortStatistics, WorkerThread } from 'vhost-net';

import type { ForwardResult } from './forward.js';
import type { PingResult } from './ping.js';

function grouped(value: number): string {
  return value.toLocaleString('en');
}

function line(label: string, text: string): string {
  return `  ${label.padEnd(14)}${text}`;
}

function workerText(worker: WorkerThread | undefined): string {
  if (!worker) return 'not visible from here';
  const kind = worker.kind === 'task' ? 'a thread of this process' : 'a kernel thread';
  return `${worker.name}, tid ${String(worker.tid)}, ${kind}`;
}

function traffic({ frames, bytes }: { frames: number; bytes: number }): string {
  return `${grouped(frames)} frames, ${grouped(bytes)} bytes`;
}

/** What the kernel's own counters of the tap say was lost or damaged. */
export function drops({ link }: PortStatistics): number {
  const { receiveDropped, receiveErrors, transmitDropped, transmitErrors } = link.counters;
  return receiveDropped + receiveErrors + transmitDropped + transmitErrors;
}

/** Whether a worker's thread is gone, by its number. */
export function gone(worker: WorkerThread | undefined): boolean {
  return worker === undefined || !fs.existsSync(`/proc/${String(worker.tid)}`);
}

export function describePing({ sent, received, roundTrip, port }: PingResult): string {
  const loss = (100 * (sent - received)) / sent;
  return [
    "ping: the kernel's own ping asks through a tap, TypeScript answers ARP and ICMP echo",
    line('worker', workerText(port.worker)),
    line('pings', `${grouped(sent)} sent, ${grouped(received)} answered, ${String(loss)} % lost`),
    line('round trip', `${roundTrip.join(' / ') || '-'} ms (least / average / greatest)`),
    line('kernel to us', traffic(port.receive)),
    line('us to kernel', traffic(port.transmit)),
    line('drops', grouped(drops(port))),
  ].join('\n');
}

export function describeForward(result: ForwardResult): string {
  const { left, right, tcp } = result;
  const rate = `${(tcp.bitsPerSecond / 1e9).toFixed(3)} Gbit/s of TCP for ${tcp.seconds.toFixed(1)} s`;
  return [
    'forward: iperf3 from one network namespace to another, and between the two only this process',
    line('workers', workerText(left.worker)),
    line('', workerText(right.worker)),
    line('throughput', `${rate}, ${grouped(tcp.bytes)} bytes`),
    line('sent again', `${grouped(tcp.retransmits)} segments`),
    line('left in', traffic(left.receive)),
    line('right out', traffic(right.transmit)),
    line('right in', traffic(right.receive)),
    line('left out', traffic(left.transmit)),
    line('ring full', `${grouped(result.waits)} times; frames then waited`),
    line('drops', grouped(drops(left) + drops(right))),
  ].join('\n');
}
