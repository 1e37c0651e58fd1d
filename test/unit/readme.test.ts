import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';

import { Port } from '#lib/port/port';

const root = path.dirname(require.resolve('vhost-net/package.json'));
const read = (file: string) => readFileSync(path.join(root, file), 'utf8');

/** The part of README below a heading. */
function section(title: string): string {
  const [, text = ''] = read('README.md').split(`\n## ${title}\n`);
  return text.split('\n## ')[0] ?? '';
}

/** What a part of README does not name. */
const missing = (words: readonly string[], title: string) =>
  words.filter((word) => !section(title).includes(word));

/** Names at the beginning of the lines of an interface. */
function members(file: string, name: string): string[] {
  const [, text = ''] = read(file).split(`export interface ${name} {\n`);
  return [...(text.split('\n}')[0] ?? '').matchAll(/^ {2}(\w+):/gm)].map(([, one = '']) => one);
}

describe('the tables of README', () => {
  it('have every event, method and property of a port', () => {
    const events = members('lib/port/events.ts', 'PortEvents');
    assert.ok(events.includes('receive'));
    assert.deepEqual(missing(events, 'API'), []);
    const own = Object.getOwnPropertyNames(Port.prototype);
    const inherited = ['constructor', 'removeAllListeners'];
    assert.deepEqual(
      missing(
        own.filter((name) => !inherited.includes(name)),
        'API',
      ),
      [],
    );
  });

  it('have every class and function of the package', () => {
    const text = read('lib/index.ts').replace(/export type \{[^}]*\}/g, '');
    const names = [...text.matchAll(/export \{([^}]*)\}/g)].flatMap(([, list = '']) =>
      list.split(',').map((name) => name.trim()),
    );
    const values = names.filter((name) => name !== '' && !name.startsWith('VIRTIO_'));
    assert.ok(values.includes('openPort'));
    const own = values.filter((name) => !/Error$|^(Port|PortQueue|Frame|ReceiveBatch)$/.test(name));
    assert.deepEqual(missing(own, 'API'), []);
  });

  it('have every code of an error of the package', () => {
    const codes = [...read('lib/errors.ts').matchAll(/^ {2}\| '(ERR_VHOST_\w+)'/gm)];
    assert.ok(codes.length > 10);
    const table = section('Errors by code').replaceAll('…', 'ERR_VHOST_OVS');
    assert.deepEqual(
      codes.map(([, code = '']) => code).filter((code) => !table.includes(`\`${code}\``)),
      [],
    );
  });
});
