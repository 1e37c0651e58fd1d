import { randomFill, sign, generateKeyPairSync, webcrypto } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { promisify } from 'node:util';
import zlib from 'node:zlib';

/**
 * What Node does with bytes on another thread, or in a later turn of the loop, going by their address. In
 * one piece: Node itself refuses to go on with a buffer that was detached between two.
 */
const WHOLE = { chunkSize: 1 << 26 };

type Job = (view: Uint8Array<ArrayBuffer>) => Promise<unknown>;

type FileWork = (fd: number) => Promise<unknown>;

async function fileJob(path: string, flags: string, work: FileWork): Promise<unknown> {
  const fd = fs.openSync(path, flags);
  try {
    return await work(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** More than a socket takes at once, so that the rest waits for the reader. */
async function socketJob(view: Uint8Array, socket: net.Socket): Promise<unknown> {
  socket.on('error', () => undefined); // an answer, too
  socket.end(view);
  return once(socket, 'close');
}

/** Jobs by name. Each has begun when it returns its promise. */
export const JOBS: Record<string, Job> = {
  'zlib.deflate': (view) => promisify<Uint8Array, object, Buffer>(zlib.deflate)(view, WHOLE),
  'zlib.brotliCompress': (view) =>
    promisify<Uint8Array, object, Buffer>(zlib.brotliCompress)(view, {
      ...WHOLE,
      params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 },
    }),
  'fs.write': (view) =>
    fileJob('/dev/null', 'w', (fd) => promisify<number, Uint8Array, number>(fs.write)(fd, view)),
  'fs.read': (view) =>
    fileJob('/dev/zero', 'r', (fd) => promisify<number, Uint8Array, number>(fs.read)(fd, view)),
  'crypto.randomFill': (view) => promisify(randomFill)(view),
  'crypto.subtle.digest': (view) => webcrypto.subtle.digest('SHA-256', view),
  'crypto.sign': (view) => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return promisify<string, Uint8Array, typeof privateKey, Buffer>(sign)(
      'sha256',
      view,
      privateKey,
    );
  },
};

/** A job over a socket whose reader begins to read when the job has begun. */
export async function socketJobs(): Promise<Job> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const [reader] = (await once(server, 'connection')) as [net.Socket];
  reader.pause().on('error', () => undefined);
  server.close();
  return (view) => {
    const done = socketJob(view, socket);
    setImmediate(() => reader.resume());
    return done;
  };
}
