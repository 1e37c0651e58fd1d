// Every marked line must be refused: types that let a mistake through are as wrong as missing ones.
import { GuestMemory, Port, VhostNet, openPort } from 'vhost-net';
import type { ReceiveBatch } from 'vhost-net';

// @ts-expect-error a backend is needed
await openPort({});
// @ts-expect-error a misspelt option
await openPort({ backend: { tap: 'vn0' }, queuesize: 256 });
// @ts-expect-error a size is a number
await openPort({ backend: { tap: 'vn0' }, queueSize: '256' });
// @ts-expect-error there is no such choice
await openPort({ backend: { tap: 'vn0' }, offloads: 'some' });
// @ts-expect-error a tap has a name
await openPort({ backend: { addresses: ['10.9.0.1/24'] } });

const port = await openPort({ backend: { tap: 'vn0' } });
// @ts-expect-error ports are opened, not constructed
new Port();
// @ts-expect-error a frame is bytes
port.send('frame');
// @ts-expect-error there is no such event
port.on('received', () => undefined);
// @ts-expect-error the handler gets a batch, not bytes
port.on('receive', (bytes: Uint8Array) => bytes.length);
// @ts-expect-error the ring may be full
port.reserve(60).bytes.fill(0);
// @ts-expect-error counters are for reading
port.statistics().receive.frames = 0;
// @ts-expect-error a name is for reading
port.name = 'other';
// @ts-expect-error addresses of the host are bigint
new VhostNet().setVringAddr(0, { desc: 0, avail: 0, used: 0 });
// @ts-expect-error regions cannot be exchanged
new GuestMemory([]).regions = [];

export function lengths(batch: ReceiveBatch): number[] {
  // @ts-expect-error a batch is iterable, but no array
  return batch.map((frame) => frame.length);
}

// @ts-expect-error rooms are not a part of the package's face
await import('vhost-net/dist/native.js');
