import os from 'node:os';
import path from 'node:path';

/** Where is kept what would take long to make again: `VHOST_NET_CACHE`, or the user's cache. */
export function cacheFolder(): string {
  const { VHOST_NET_CACHE, XDG_CACHE_HOME = '' } = process.env;
  if (VHOST_NET_CACHE) return VHOST_NET_CACHE;
  // XDG's specification: what is not absolute is to be ignored.
  const cache = path.isAbsolute(XDG_CACHE_HOME)
    ? XDG_CACHE_HOME
    : path.join(os.homedir(), '.cache');
  return path.join(cache, 'vhost-net');
}
