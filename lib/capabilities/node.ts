import fs from 'node:fs';
import os from 'node:os';

import { codeOf, reason } from './check.js';
import type { Finding } from './check.js';
import { miscMinor, moduleAvailable, readText } from './proc.js';

/** A device node and the module behind it. */
export interface DeviceNode {
  readonly path: string;
  readonly module: string;
  /** Its name in `/proc/misc`. */
  readonly misc: string;
  /** Whether everybody may have it: that is not so of every device. */
  readonly everybody: boolean;
}

/** Why a node could not be opened, and what mends it. */
export function nodeFailure(node: DeviceNode, error: unknown): Finding {
  const { message } = error as Error;
  switch (codeOf(error)) {
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
      return { ok: false, detail: message, ...absent(node) };
    case 'EACCES':
      return { ok: false, detail: message, ...giveAccess(node, message) };
    default:
      return { ok: false, detail: reason(error) };
  }
}

/** The module makes the node where devtmpfs is mounted; elsewhere, as in a container, somebody must. */
function absent({ path, module, misc, everybody }: DeviceNode): Partial<Finding> {
  const minor = miscMinor(misc);
  const folder = path.slice(0, path.lastIndexOf('/'));
  const mode = everybody ? '666' : '660';
  if (minor !== undefined) {
    const make = `mkdir -p ${folder} && mknod -m ${mode} ${path} c 10 ${String(minor)}`;
    return { remedy: `rm -f ${path}; ${make}` };
  }
  const available = moduleAvailable(module, os.release());
  if (available === true) return { remedy: `modprobe ${module}` };
  return { detail: `${path} is not there, and ${noModule(module, available)}` };
}

function noModule(module: string, available: false | undefined): string {
  const folder = `/lib/modules/${os.release()}`;
  return available === false
    ? `this kernel has no module ${module}: boot one that has`
    : `there is no list of modules in ${folder}: this kernel has none, or this is a container, ` +
        `whose host must load ${module}`;
}

/** What lets this user have a node, and nobody else where not everybody may; nor takes it from anybody. */
function giveAccess({ path, everybody }: DeviceNode, message: string): Partial<Finding> {
  if (everybody) return { remedy: `chmod 666 ${path}` };
  const group = groupOf(path);
  const user = loginName();
  if (group !== undefined && user !== undefined) {
    const detail = `${message}; it is for the group ${group}, and who gets into that must log in anew`;
    return { detail, remedy: `usermod -aG ${group} ${user}` };
  }
  const own = String(process.getgid?.() ?? 0);
  return { remedy: `chgrp ${own} ${path} && chmod 660 ${path}` };
}

/** The group that a node was made for, such as `kvm` by udev: a node can have no other besides. */
function groupOf(path: string): string | undefined {
  const { gid, mode } = lookAt(path);
  if (gid === 0 || (mode & 0o060) !== 0o060) return undefined;
  return new RegExp(`^([^:]+):[^:]*:${String(gid)}:`, 'm').exec(readText('/etc/group') ?? '')?.[1];
}

/** Where not even that is allowed: what root has to itself. */
function lookAt(path: string): { gid: number; mode: number } {
  try {
    return fs.statSync(path);
  } catch {
    return { gid: 0, mode: 0 };
  }
}

function loginName(): string | undefined {
  try {
    return os.userInfo().username;
  } catch {
    return undefined; // No user of the system's.
  }
}
