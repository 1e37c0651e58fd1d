// Runs the same sequences as differential.c through this package, and prints the same.
//
//   differential.program.js FILE
import fs from 'node:fs';

import { LOG_BYTES, MEMORY_BYTES } from '../support/ioctl-sequences.js';
import { VhostError } from '#lib/errors';
import { native } from '#lib/native';
import type { NativeDescriptor } from '#lib/native';
import { EventFd } from '#lib/sys/eventfd';
import { Pages } from '#lib/sys/pages';
import { Tun } from '#lib/sys/tun';
import { VhostNet } from '#lib/sys/vhost-net';
import { IFF_NO_PI, IFF_TAP, IFF_VNET_HDR } from '#lib/uapi/tun';

const memory = Pages.allocate({ byteLength: MEMORY_BYTES });

function openTap(): Tun {
  const tap = new Tun();
  tap.setIff('', IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
  return tap;
}

const files: Readonly<Record<string, { readonly descriptor: NativeDescriptor } | undefined>> = {
  none: undefined,
  event: new EventFd(),
  null: { descriptor: native.descriptorOpen('/dev/null', true) },
  tun: new Tun(),
  tap: openTap(),
};

/** One line's words, from the first argument on. */
class Words {
  readonly #words: readonly string[];
  #next = 0;

  constructor(words: readonly string[]) {
    this.#words = words;
  }

  word(): string {
    return this.#words[this.#next++] ?? '';
  }

  decimal(): number {
    return Number(this.word());
  }

  hexadecimal(): bigint {
    return BigInt(`0x${this.word()}`);
  }

  place(): bigint {
    const text = this.word();
    const offset = BigInt(text.slice(1));
    return (text.startsWith('k') ? 1n << 63n : memory.address) + offset;
  }

  file(): { readonly descriptor: NativeDescriptor } | undefined {
    return files[this.word()];
  }

  /** The package takes what has an eventfd's descriptor for one; whether it is the kernel says. */
  event(): EventFd | undefined {
    return this.file() as EventFd | undefined;
  }
}

const KINDS = { task: 1, kthread: 0 } as const;
const ENDIANS = { little: 0, big: 1 } as const;

/** The name whose number is on the line. */
const named = <Name extends string>(names: Readonly<Record<Name, number>>, words: Words): Name => {
  const number = words.decimal();
  const found = (Object.keys(names) as Name[]).find((name) => names[name] === number);
  if (found === undefined) throw new Error(`no name for ${String(number)}`);
  return found;
};

function memoryTable(vhost: VhostNet, words: Words): void {
  const rows = Array.from({ length: words.decimal() }, () => ({
    guestAddress: words.hexadecimal(),
    byteLength: words.hexadecimal(),
    hostAddress: words.place(),
  }));
  vhost.setMemTable(rows);
}

function address(vhost: VhostNet, words: Words): void {
  const index = words.decimal();
  const [desc, used, avail] = [words.place(), words.place(), words.place()];
  const logged = words.decimal() === 1;
  const log = words.hexadecimal();
  vhost.setVringAddr(index, { desc, used, avail, ...(logged && { log }) });
}

/** Two words, as the C program has them. */
function array(features: bigint): string {
  return `${String(BigInt.asUintN(64, features))} ${String(features >> 64n)}`;
}

type Request = (vhost: VhostNet, words: Words) => unknown;

const REQUESTS: Readonly<Record<string, Request>> = {
  owner: (vhost) => vhost.setOwner(),
  reset: (vhost) => vhost.resetOwner(),
  getfeatures: (vhost) => vhost.getFeatures(),
  setfeatures: (vhost, words) => vhost.setFeatures(words.hexadecimal()),
  getarray: (vhost) => array(vhost.getFeaturesArray()),
  setarray: (vhost, words) =>
    vhost.setFeaturesArray(words.hexadecimal() | (words.hexadecimal() << 64n)),
  getbackendfeatures: (vhost) => vhost.getBackendFeatures(),
  setbackendfeatures: (vhost, words) => vhost.setBackendFeatures(words.hexadecimal()),
  getfork: (vhost) => KINDS[vhost.getForkFromOwner()],
  setfork: (vhost, words) => vhost.setForkFromOwner(named(KINDS, words)),
  memory: memoryTable,
  logbase: (vhost, words) =>
    vhost.setLogBase({ hostAddress: words.place(), byteLength: BigInt(LOG_BYTES) }),
  logfd: (vhost, words) => vhost.setLogFd(words.event()),
  num: (vhost, words) => vhost.setVringNum(words.decimal(), words.decimal()),
  setbase: (vhost, words) => vhost.setVringBase(words.decimal(), words.decimal()),
  getbase: (vhost, words) => vhost.getVringBase(words.decimal()),
  address,
  kick: (vhost, words) => vhost.setVringKick(words.decimal(), words.event()),
  call: (vhost, words) => vhost.setVringCall(words.decimal(), words.event()),
  err: (vhost, words) => vhost.setVringErr(words.decimal(), words.event()),
  setendian: (vhost, words) => vhost.setVringEndian(words.decimal(), named(ENDIANS, words)),
  getendian: (vhost, words) => ENDIANS[vhost.getVringEndian(words.decimal())],
  setbusy: (vhost, words) => vhost.setVringBusyloopTimeout(words.decimal(), words.decimal()),
  getbusy: (vhost, words) => vhost.getVringBusyloopTimeout(words.decimal()),
  backend: (vhost, words) => vhost.setBackend(words.decimal(), words.file()),
};

/** The errno, also of what the package calls by another name; what is none is printed as it is. */
function failure(error: unknown): string {
  const cause = error instanceof VhostError && error.code === 'ERR_VHOST_UNSUPPORTED';
  const { errno } = (cause ? error.cause : error) as NodeJS.ErrnoException;
  return errno === undefined ? String(error) : String(-errno);
}

function answer(vhost: VhostNet, line: string): string {
  const [request = '', ...words] = line.split(' ');
  try {
    const value = REQUESTS[request]?.(vhost, new Words(words)) as
      string | number | bigint | undefined;
    return value === undefined ? '0' : `0 ${String(value)}`;
  } catch (error) {
    return failure(error);
  }
}

function main(file: string): void {
  let vhost: VhostNet | undefined;
  const answers: string[] = [];
  for (const line of fs.readFileSync(file, 'utf8').trim().split('\n')) {
    if (line === '#') {
      vhost?.close();
      vhost = new VhostNet();
      answers.push('#');
    } else if (vhost) {
      answers.push(answer(vhost, line));
    }
  }
  fs.writeSync(1, answers.join('\n') + '\n');
  process.exit(0);
}

main(process.argv[2] ?? '');
