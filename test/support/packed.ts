import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** The repository's root, seen from `out/test/support`. */
export const root = path.resolve(__dirname, '../../..');

const folders: string[] = [];
process.once('exit', () => {
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true });
});

/** A temporary folder that is gone when the process ends. */
export function temporaryFolder(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vhost-net-'));
  folders.push(folder);
  return folder;
}

/** Packs the package as publishing would; the tarball's path. */
export function packTarball(): string {
  const folder = temporaryFolder();
  execFileSync('npm', ['pack', '--pack-destination', folder], { cwd: root, stdio: 'pipe' });
  const [name] = fs.readdirSync(folder);
  if (name === undefined) throw new Error('npm pack made no tarball');
  return path.join(folder, name);
}

/** The files of a tarball, as they will lie in the package's folder. */
export function tarballFiles(tarball: string): string[] {
  const names = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' });
  return names
    .trim()
    .split('\n')
    .map((name) => name.replace(/^package\//, ''))
    .sort();
}

/** Unpacks a tarball to where a project would have it. */
export function unpackInto(project: string, tarball: string): void {
  const folder = path.join(project, 'node_modules/vhost-net');
  fs.mkdirSync(folder, { recursive: true });
  execFileSync('tar', ['-xzf', tarball, '-C', folder, '--strip-components=1']);
}

/** The same tarball without one of its folders. */
export function tarballWithout(tarball: string, name: string): string {
  const folder = temporaryFolder();
  execFileSync('tar', ['-xzf', tarball, '-C', folder]);
  fs.rmSync(path.join(folder, 'package', name), { recursive: true });
  const result = path.join(folder, 'less.tgz');
  execFileSync('tar', ['-czf', result, '-C', folder, 'package']);
  return result;
}
