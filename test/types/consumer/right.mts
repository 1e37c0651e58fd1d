// The same names from an ES module: named, as a namespace, and types alone.
import * as vhost from 'vhost-net';
import { EventFd, GuestMemory, Pages, VhostNet, openPort } from 'vhost-net';
import type { MemoryTableRow, NetHeader, Pin, WorkerThread } from 'vhost-net';
import description from 'vhost-net/package.json' with { type: 'json' };

export const version: string = description.version;

export function features(): bigint {
  using vhostNet = new VhostNet();
  vhostNet.setOwner();
  const worker: WorkerThread | undefined = vhostNet.worker;
  return worker === undefined ? 0n : vhostNet.getFeatures();
}

export function table(pages: Pages): MemoryTableRow[] {
  return [
    { guestAddress: 0n, byteLength: BigInt(pages.buffer.byteLength), hostAddress: pages.address },
  ];
}

export function pinned(memory: GuestMemory): Pin {
  return memory.pin('a test of types');
}

export function count(eventfd: EventFd, header: NetHeader): number {
  eventfd.watch((signals: number) => signals + header.hdrLen);
  return eventfd.drain();
}

const port = await openPort({ backend: { tap: 'vn0' } });
port
  .on('drain', () => port.flush())
  .ref()
  .unref();
await port.close();
export const split: vhost.SplitLayout = vhost.splitLayout(256);

export function remedies(): string[] {
  const { checks } = vhost.capabilities();
  return checks.flatMap(({ ok, remedy }) => (ok || remedy === undefined ? [] : [remedy]));
}

export function pin({ worker }: VhostNet, cpu: number): vhost.WorkerScheduling | undefined {
  worker?.setAffinity([cpu]);
  worker?.setScheduling({ policy: 'fifo', priority: 1 });
  return worker?.scheduling();
}

export function failed(message: vhost.IoctlMessage | vhost.PortMessage): Error | undefined {
  return message.error;
}
