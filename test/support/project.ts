import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

/** How this machine reaches its registry; the user's own npmrc is not there in a test's HOME. */
function registryAccess(): NodeJS.ProcessEnv {
  const setting = (key: string) =>
    execFileSync('npm', ['config', 'get', key], { encoding: 'utf8', stdio: 'pipe' }).trim();
  return {
    npm_config_registry: setting('registry'),
    npm_config_cache: setting('cache'),
    npm_config_prefer_offline: 'true',
    npm_config_update_notifier: 'false',
    npm_config_audit: 'false',
    npm_config_fund: 'false',
  };
}

/** An environment of a project's own: no npmrc of the user, no settings of the test's npm. */
export function projectEnvironment(
  project: string,
  programs = process.env['PATH'],
): NodeJS.ProcessEnv {
  const home = path.join(project, '.home');
  fs.mkdirSync(home, { recursive: true });
  return { PATH: programs, HOME: home, ...registryAccess() };
}

/** Makes an empty project and installs packages in it, as a user would. What npm had to say. */
export function install(project: string, packages: readonly string[], programs?: string): string {
  fs.mkdirSync(project, { recursive: true });
  fs.writeFileSync(path.join(project, 'package.json'), '{ "private": true }');
  const env = projectEnvironment(project, programs);
  return execFileSync('npm', ['install', ...packages], {
    cwd: project,
    env,
    encoding: 'utf8',
    stdio: 'pipe',
  });
}
